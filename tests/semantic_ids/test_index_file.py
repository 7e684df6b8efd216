from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.semantic_ids.index_file import read_index


def write(folder: Path, payload: Any) -> Path:
    path = folder / "index.json"
    path.write_text(payload if isinstance(payload, str) else json.dumps(payload))
    return path


GOOD = {"x": ["<a_1>", "<b_0>"], "y": ["<a_3>", "<b_2>"], "z": ["<a_9>", "<b_9>"]}


def test_rows_follow_the_catalogue(tmp_path: Path) -> None:
    index = read_index(write(tmp_path, GOOD), ["y", "x"])
    assert index.codes.tolist() == [[3, 2], [1, 0]]
    assert (index.sizes, index.extra) == ([4, 3], 1)
    assert read_index(write(tmp_path, GOOD), ["y", "x"], [8, 8]).sizes == [8, 8]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ('{"x": ["<a_1>", "<b_0', "cannot be read as JSON"),
        ([1, 2], "not an index"),
        ({}, "not an index"),
        ({"x": ["<a_1>"]}, "1 items of the catalogue have no entry .item_id 'y'"),
        ({"0x": ["<a_1>"], "0y": ["<a_2>"]}, "all differ by leading zeros alone"),
        ({"x": ["<a_1>"], "y": ["<a_1>", "<b_1>"]}, "2 codes where the first item has 1"),
        ({"x": ["<b_1>"], "y": ["<a_1>"]}, "'<b_1>' is not a code of level 0"),
        ({"x": ["hat"], "y": ["<a_1>"]}, "'hat' is not a code of level 0"),
        ({"x": "<a_1>", "y": ["<a_1>"]}, "must be a list of names"),
        ({"x": ["<a_1>"], "y": ["<a_1>", 1]}, "must be a list of names"),
        ({"x": [1], "y": [True]}, "must be a list of names"),
        ({"x": [1], "y": [1.0]}, "must be a list of names"),
        ({"x": [1], "y": [-1]}, "item 'y': -1: codes must be from 0"),
        ({"x": ["<a_1>"], "y": []}, "must be a list of names"),
        ({"x": ["<a_99999999999>"], "y": ["<a_1>"]}, "must be below"),
    ],
)
def test_files_that_are_not_an_index(tmp_path: Path, payload: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_index(write(tmp_path, payload), ["x", "y"])


def test_whole_numbers_from_zero_or_on_through_the_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = read_index(write(tmp_path, {"x": [3, 0], "y": [0, 2]}), ["x", "y"])
    assert (index.codes.tolist(), index.sizes) == ([[3, 0], [0, 2]], [4, 3])
    assert not capsys.readouterr().err
    index = read_index(write(tmp_path, {"x": [3, 256], "y": [0, 258]}), ["x", "y"])
    assert (index.codes.tolist(), index.sizes) == ([[3, 0], [0, 2]], [4, 3])
    assert "the smallest code of each level (0, 256) became 0" in capsys.readouterr().err


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    for sizes in ([3, 3], [4, 3, 1]):
        with pytest.raises(InputError, match="needs at least 4, 3 codes in its 2 levels"):
            read_index(write(tmp_path, GOOD), ["x", "y"], sizes)
    with pytest.raises(InputError, match="no such file"):
        read_index(tmp_path / "nothing.json", ["x"])
