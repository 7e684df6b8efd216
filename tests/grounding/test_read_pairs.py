from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.grounding.read_pairs import make_pairs, read_pairs, split_into_tokens, tokens_of_pairs
from gti_cli.prompts.pair_prompts import Pair

CATALOGUE = {"1": "<a_0><b_0>", "2": "<a_0><b_1>"}
NAMES = ["<a_0>", "<b_0>", "<b_1>", "new", "news"]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    return path


def test_titles_and_descriptions(tmp_path: Path, tokenizer: object) -> None:
    path = table(tmp_path, "item_id,title,description\n2,T,D\n1,,E\n1,U,\n2,,\n")
    texts = read_pairs(path, CATALOGUE, NAMES)
    pairs, counts = make_pairs(texts, tokenizer, 50)  # type: ignore[arg-type]
    assert [(p.item, p.form, p.text, p.tokens) for p in pairs] == [
        (0, "title", "T", CATALOGUE["2"]),
        (0, "description", "D", CATALOGUE["2"]),
        (0, "both", "T\nD", CATALOGUE["2"]),
        (1, "description", "E", CATALOGUE["1"]),
        (2, "title", "U", CATALOGUE["1"]),
    ]
    assert counts == {
        "rows": 4,
        "items": 2,
        "rows_without_text": 1,
        "rows_without_title": 2,
        "rows_without_description": 2,
        "texts_cut": 0,
        "texts_naming_tokens": 0,
        "pairs_title": 2,
        "pairs_description": 2,
        "pairs_both": 1,
    }


def test_titles_alone_and_encoded_text_alone(tmp_path: Path, tokenizer: object) -> None:
    for column, form in (("title", "title"), ("text", "text")):
        texts = read_pairs(table(tmp_path, f"item_id,{column}\n1,T\n"), CATALOGUE, NAMES)
        pairs, _ = make_pairs(texts, tokenizer, 50)  # type: ignore[arg-type]
        assert [(p.form, p.text) for p in pairs] == [(form, "T")]


def test_columns_of_no_pair_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_pairs(table(tmp_path, "item_id,title,rating,brand\n1,T,5,B\n"), CATALOGUE, NAMES)
    assert capsys.readouterr().err.count("not read: column 'rating'\n") == 1
    read_pairs(table(tmp_path, "text,tokens,rating,item_id\nA,new,5,1\n"), None, NAMES)
    assert "not read: columns 'rating', 'item_id'\n" in capsys.readouterr().err
    read_pairs(table(tmp_path, "item_id,title,text,same_as,rating\n1,T,T,,5\n"), CATALOGUE, NAMES)
    assert capsys.readouterr().err == ""  # the workspace's own table


def test_text_and_tokens_of_any_vocabulary(tmp_path: Path, tokenizer: object) -> None:
    texts = read_pairs(table(tmp_path, "text,tokens\nA,newsnew\nB,<a_0> <b_1>\n"), None, NAMES)
    assert texts.tokens == ["newsnew", "<a_0><b_1>"]
    pairs, counts = make_pairs(texts, tokenizer, 50)  # type: ignore[arg-type]
    assert [p.form for p in pairs] == ["text", "text"] and counts["pairs_text"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,title\n1,A\n9,B\n8,C\n", "2 items have no semantic ID: '8', '9'"),
        ("item_id,title\n01,A\n02,B\n", "differ by leading zeros alone from ids that exist ('01' here is '1' there)"),
        ("item_id,title\n1,\n2,\n", "no row has a text in title"),
        ("item_id,brand\n1,A\n", "no pairs can be made from the columns"),
        ("item_id,title\n", "no rows"),
        ("text,tokens\nA,<c_0>\n", "row 1: '<c_0>' is not a sequence of the checkpoint's new tokens"),
        ("text,tokens\nA,new\nB,\n", "row 2: the tokens are missing"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_pairs(table(tmp_path, text), CATALOGUE, NAMES)
    assert message in str(caught.value)


def test_items_without_semantic_ids_in_the_workspace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="need the semantic IDs"):
        read_pairs(table(tmp_path, "item_id,title\n1,A\n"), None, NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a> thee", ["<a>", " thee"]),
        (" thee<a>", [" thee", "<a>"]),
        ("  <a>  <a> ", ["<a>", "<a>"]),
        ("thee", []),
        ("<a>x", []),
        (" ", []),
    ],
)
def test_spaces_that_belong_to_a_token(text: str, expected: list[str]) -> None:
    assert split_into_tokens(text, {"<a>", " thee"}, 5) == expected


def test_tokens_with_spaces_are_read_from_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, 'text,tokens\nyou," thee"\nyou two," thee<a>"\n')
    assert read_pairs(path, None, ["<a>", " thee"]).tokens == [" thee", " thee<a>"]
    pairs = [Pair(0, "text", "you", " thee"), Pair(1, "text", "you two", " thee<a>")]
    assert tokens_of_pairs(pairs, ["<a>", " thee"]) == [{" thee"}, {" thee", "<a>"}]
