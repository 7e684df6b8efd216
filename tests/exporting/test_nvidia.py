from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.errors import InputError
from gti_cli.exporting.engine_catalogue import EngineCatalogue
from gti_cli.exporting.nvidia import server_command, write_lines

CODES = np.asarray([[0, 1, 2], [1, 0, 2], [0, 1, 0]], dtype=np.int32)
TOKENS = [np.asarray([10, 11]), np.asarray([12, 13]), np.asarray([14, 15, 16])]


def make(items: list[str], codes: np.ndarray = CODES, **more: Any) -> EngineCatalogue:
    return EngineCatalogue(items, codes, [2, 2, 3], **{"token_ids": TOKENS, "vocabulary": 17, **more})


def read(path: Path, vocabulary: int, *, shared: bool = False) -> dict[tuple[int, ...], list[Any]]:
    """Read a catalogue as sid-gr-inference's description has it: path of token ids -> its items.

    A line is an object with ``item_id``, ``token_ids`` (whole numbers from 0 and below the vocabulary's size, at least
    one) and optionally ``metadata``, an object. An item or a path may occur once, unless it is said otherwise.
    """
    paths: dict[tuple[int, ...], list[Any]] = {}
    items: set[Any] = set()
    with path.open(encoding="utf-8") as file:  # not splitlines, which also divides at U+2028
        entries = [json.loads(line) for line in file]
    for entry in entries:
        ids, item = entry["token_ids"], entry["item_id"]
        assert ids and all(type(token) is int and 0 <= token < vocabulary for token in ids)
        assert isinstance(entry.get("metadata", {}), dict)
        assert item not in items and (shared or tuple(ids) not in paths)
        items.add(item)
        paths.setdefault(tuple(ids), []).append(item)
    return paths


def test_the_lines_lead_from_token_ids_to_items(tmp_path: Path) -> None:
    path = tmp_path / "catalog.jsonl"
    titles = ["A \u2028 title", "", "x"]
    (written,) = write_lines(path, make(["ä", "b\n", "c"], titles=titles))
    assert (written.path, written.rows) == (path, 3)
    assert read(path, 17) == {(10, 13, 16): ["ä"], (11, 12, 16): ["b\n"], (10, 13, 14): ["c"]}
    with path.open(encoding="utf-8") as file:
        assert [json.loads(line)["metadata"] for line in file] == [{"title": title} for title in titles]
    assert [file.name for file in tmp_path.iterdir()] == ["catalog.jsonl"]
    command = server_command("lm", path, make(["a", "b", "c"]))
    assert command.endswith("--decode-steps 3 --context-len TOKENS_OF_THE_LONGEST_PROMPT")
    assert f"--model-dir lm --catalog-jsonl {path} --catalog-vocab-size 17 " in command
    words = shlex.split(server_command("my lm", tmp_path / "it's; x", make(["a", "b", "c"])))
    assert "my lm" in words and str(tmp_path / "it's; x") in words


def test_shared_ids_need_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = make(["a", "b", "c"], CODES[[0, 0, 1]])
    write_lines(tmp_path / "x", catalogue)
    with pytest.raises(AssertionError):
        read(tmp_path / "x", 17)
    assert read(tmp_path / "x", 17, shared=True) == {(10, 13, 16): ["a", "b"], (11, 12, 16): ["c"]}
    assert server_command("lm", tmp_path / "x", catalogue).endswith(" --catalog-allow-duplicate-token-paths")
    assert "1 items share the semantic ID of another" in capsys.readouterr().err


def test_what_the_engine_refuses_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token ids of a checkpoint, and none was given"):
        write_lines(tmp_path / "x", make(["a", "b", "c"], token_ids=None))
    with pytest.raises(InputError, match="token id 16 is none of the model, whose vocabulary has 16"):
        write_lines(tmp_path / "x", make(["a", "b", "c"], vocabulary=16))
    assert not list(tmp_path.iterdir())
