"""Tokens to add, read from semantic IDs and from tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.checkpoints.token_names import BEGIN, END, ONEREC, all_names, semantic_id
from gti_cli.errors import InputError
from gti_cli.vocabulary.tokens_to_add import TokensToAdd, collect_tokens_to_add
from gti_cli.workspace import Workspace
from tests.support.vocabulary import CODES, SIZES, TEXTS, catalogue_tokens, write_semantic_ids


@pytest.mark.parametrize("style", ["lc-rec", ONEREC])
def test_each_item_points_to_the_names_of_its_codes(tmp_path: Path, style: str) -> None:
    space = Workspace(tmp_path)
    write_semantic_ids(space, CODES, SIZES, style=style, texts=TEXTS, codebooks=catalogue_tokens().codebooks)
    upstream, tokens, identity = collect_tokens_to_add(space, None)
    assert list(upstream) == ["semantic_ids"] and identity == "ids"
    assert tokens.all_names == all_names(SIZES, style)
    assert tokens.structural == ([BEGIN, END] if style == ONEREC else [])
    assert tokens.item_texts == TEXTS and tokens.descriptions == []
    assert tokens.item_tokens is not None
    begin, end = (BEGIN, END) if style == ONEREC else ("", "")
    for codes, indices in zip(CODES, tokens.item_tokens, strict=True):
        assert begin + "".join(tokens.names[index] for index in indices) + end == semantic_id(codes, style)
    for vectors, expected in zip(tokens.codebooks, catalogue_tokens().codebooks, strict=True):
        np.testing.assert_array_equal(vectors, expected)


def test_semantic_ids_of_another_tool_may_lack_texts_and_codebooks(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    write_semantic_ids(space, CODES, SIZES)
    _, tokens, _ = collect_tokens_to_add(space, None)
    assert tokens == TokensToAdd(all_names(SIZES))


def test_a_workspace_without_semantic_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gti build-ids"):
        collect_tokens_to_add(Workspace(tmp_path), None)


@pytest.mark.parametrize("descriptions", [None, ["a cheese", ""]])
def test_a_table_of_other_tokens_needs_no_semantic_ids(tmp_path: Path, descriptions: list[str] | None) -> None:
    columns = {"token": ["<zorp>", "blick"]}
    tables.write(tmp_path / "t.parquet", columns if descriptions is None else {**columns, "description": descriptions})
    upstream, tokens, identity = collect_tokens_to_add(Workspace(tmp_path / "w"), tmp_path / "t.parquet")
    assert (upstream, identity) == ({}, None)
    assert tokens == TokensToAdd(["<zorp>", "blick"], descriptions or [])


def test_a_table_that_names_a_token_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("token\nx\nx\n")
    with pytest.raises(InputError, match="duplicate token 'x'"):
        collect_tokens_to_add(Workspace(tmp_path / "w"), tmp_path / "t.csv")


def test_spaces_belong_to_a_token(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('token,description\n" zorp",a cheese\n<x> ,a boat\n')
    _, tokens, _ = collect_tokens_to_add(Workspace(tmp_path / "w"), tmp_path / "t.csv")
    assert tokens.names == [" zorp", "<x> "] and tokens.table == tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x", "  "], r"t.parquet, column 'token', row 2: the token ' ' is white space alone"),
        (["x", "y", " x"], r"t.parquet, column 'token', row 3: ' x' and 'x' \(row 1\) differ in spaces or"),
        (["caf\u00e9", "cafe\u0301"], r"row 2: .* differ in spaces or the form of a character alone"),
    ],
)
def test_tokens_that_look_alike_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    tables.write(tmp_path / "t.parquet", {"token": names})
    with pytest.raises(InputError, match=message):
        collect_tokens_to_add(Workspace(tmp_path / "w"), tmp_path / "t.parquet")
