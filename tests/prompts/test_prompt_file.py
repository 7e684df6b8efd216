"""The file of a checkpoint's questions, against the prompts that training and `gti recommend` render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.errors import InputError
from gti_cli.prompts.next_item import SYSTEM, WORDINGS, encode_history
from gti_cli.prompts.prompt_file import PROMPT_FILE, asks_for_next_item, has_prior, write_prompt_file
from gti_cli.workspace import Workspace
from tests.support.evaluation import HISTORY, add_prompt_file, make_world
from tests.support.models import make_tokenizer
from tests.support.prompts import encode_query


@pytest.mark.parametrize("chat", [True, False])
def test_the_questions_are_those_of_training(tmp_path: Path, chat: bool) -> None:
    space = Workspace(make_world(tmp_path).workspace)
    folder = space.path("finetuned")
    if not chat:
        (folder / "chat_template.jinja").unlink()
    assert not asks_for_next_item(folder / PROMPT_FILE)
    content = add_prompt_file(folder, ("next-item", "search"))
    assert asks_for_next_item(folder / PROMPT_FILE)
    tokenizer = load_tokenizer(str(folder))
    question, items = content["next-item"], [(1, 2, 3), (0, 1, 0)]
    assert question["system"] == SYSTEM and question["history"] == HISTORY
    assert [wording["text"] for wording in question["wordings"]] == list(WORDINGS[:2])
    tokens = [[p.format(code) for p, code in zip(content["item"]["codes"], item, strict=True)] for item in items]
    ids = [token for item in tokens for token in tokenizer.convert_tokens_to_ids(item)]
    for number, wording in enumerate(question["wordings"]):
        expected = encode_history(tokenizer, ["".join(item) for item in tokens], number)
        assert [*wording["before"], *ids, *wording["behind"]] == expected
    search = content["search"]
    prompt = search["before"] + "red dress" + search["behind"]
    found = tokenizer(prompt, add_special_tokens=search["add_special_tokens"])["input_ids"]
    assert found == encode_query(tokenizer, "red dress")
    assert tokenizer.convert_ids_to_tokens(content["end"]) == "<|im_end|>"
    assert content["item"]["opening"] == content["item"]["closing"] == []


def test_only_questions_that_were_trained_are_there(tmp_path: Path) -> None:
    space = Workspace(make_world(tmp_path).workspace)
    folder = space.path("finetuned")
    content = add_prompt_file(folder, ("search", "lc-rec"))
    assert "next-item" not in content and not asks_for_next_item(folder / PROMPT_FILE)
    (folder / PROMPT_FILE).write_text("{")
    with pytest.raises(InputError, match="JSON"):
        asks_for_next_item(folder / PROMPT_FILE)


def test_boundary_tokens_and_a_model_that_names_no_items(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<s_a_0>", "<s_b_0>", "<|sid_begin|>", "<|sid_end|>"])
    item = "<|sid_begin|><s_a_0><s_b_0><|sid_end|>"
    settings: dict[str, Any] = {"item_tokens": item, "levels": 2, "style": "onerec", "wordings": 1, "history": 5}
    write_prompt_file(tmp_path, tokenizer, ["lc-rec"], **settings)
    assert not list(tmp_path.iterdir())
    write_prompt_file(tmp_path, tokenizer, ["next-item"], **settings)
    text = (tmp_path / PROMPT_FILE).read_text("utf-8")
    assert '"<s_a_{}>"' in text and '"<s_b_{}>"' in text
    assert [tokenizer.convert_tokens_to_ids(name) for name in ("<|sid_begin|>", "<|sid_end|>")] == [
        number for key in ("opening", "closing") for number in json.loads(text)["item"][key]
    ]


def test_a_model_with_a_behaviour_prior_says_that_it_is_not_in_the_weights(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<a_0>", "<b_0>"])
    item: dict[str, Any] = {"item_tokens": "<a_0><b_0>", "levels": 2, "style": "lc-rec", "wordings": 1, "history": 5}
    write_prompt_file(tmp_path, tokenizer, ["next-item"], **item)
    assert "prior" not in json.loads((tmp_path / PROMPT_FILE).read_text("utf-8"))["next-item"] and not has_prior(
        tmp_path
    )
    write_prompt_file(tmp_path, tokenizer, ["next-item", "search"], **item, prior="item-knn")
    content = json.loads((tmp_path / PROMPT_FILE).read_text("utf-8"))
    assert content["next-item"]["prior"]["name"] == "item-knn" and "prior" not in content["search"]
    assert "ranks differently" in content["next-item"]["prior"]["note"]
    file = tmp_path / content["next-item"]["prior"]["file"]
    file.parent.mkdir()
    file.touch()
    assert has_prior(tmp_path)
