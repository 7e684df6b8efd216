from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.prompts.chat import encode_answer, encode_prompt
from gti_cli.prompts.examples import Example
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TEXT, TO_TOKENS, Pair, encode_pairs
from gti_cli.prompts.templates import read_templates
from tests.support.models import make_tokenizer
from tests.support.prompts import encode_pair


def written(folder: Path, content: object) -> Path:
    path = folder / "prompts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_own_wordings_replace_the_default_and_the_rest_stays(tmp_path: Path) -> None:
    mine = {"system": "You sell.", TO_TOKENS: {"title": "Which is {text}? {x}"}, TO_TEXT: {"both": "What: {tokens}!"}}
    templates = read_templates(written(tmp_path, mine))
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<a_0>"])
    pairs = [Pair(0, "title", "a {text} dress", "<a_0>"), Pair(0, "both", "red dress", "<a_0>")]
    found = encode_pairs(tokenizer, pairs[:1], TO_TOKENS, templates)
    prompt = encode_prompt(tokenizer, "You sell.", "Which is a {text} dress? {x}")
    assert found == [Example(prompt, encode_answer(tokenizer, "<a_0>"))]
    assert encode_pairs(tokenizer, pairs[1:], TO_TEXT, templates)[0].prompt == encode_prompt(
        tokenizer, "You sell.", "What: <a_0>!"
    )
    assert encode_pair(tokenizer, pairs[0], TO_TOKENS, templates) == found[0]
    untouched = {key for key in DEFAULT_TEMPLATES.questions if key not in ((TO_TOKENS, "title"), (TO_TEXT, "both"))}
    assert all(templates.questions[key] == DEFAULT_TEMPLATES.questions[key] for key in untouched)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ([], "must be a JSON object"),
        ({"sistem": "x"}, "'sistem' is not known"),
        ({"system": 3}, "system must be a string"),
        ({TO_TEXT: []}, "must map forms"),
        ({TO_TEXT: {"name": "{tokens}"}}, "the form 'name' is not known"),
        ({TO_TEXT: {"title": "no holder"}}, "must hold {tokens} once"),
        ({TO_TOKENS: {"title": "{text}{text}"}}, "must hold {text} once"),
    ],
)
def test_wrong_files(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_templates(written(tmp_path, content))
    assert message in str(error.value)
    assert "prompts.json" in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_templates(tmp_path / "none.json")
