from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.exporting.engine_catalogue import EngineCatalogue
from gti_cli.exporting.xllm import check_levels, whole_numbers, write_vocabulary

CODES = np.asarray([[0, 1, 2], [1, 0, 2], [0, 1, 2]], dtype=np.int32)
TOKENS = [np.asarray([100_000, 11]), np.asarray([12, 13]), np.asarray([14, 15, 16])]


def read(path: Path) -> dict[tuple[int, int, int], list[int]]:
    """Read a vocabulary as xLLM's description has it: records of an int64 and three int32, and nothing else."""
    items: dict[tuple[int, int, int], list[int]] = {}
    for item, *tokens in struct.iter_unpack("<q3i", path.read_bytes()):
        items.setdefault((tokens[0], tokens[1], tokens[2]), []).append(item)
    return items


def test_whole_numbers_are_the_items(tmp_path: Path) -> None:
    big = 2**63 - 1
    catalogue = EngineCatalogue(["7", str(big), "-3"], CODES, [2, 2, 3], token_ids=TOKENS)
    (written,) = write_vocabulary(tmp_path / "v.bin", catalogue)
    assert read(tmp_path / "v.bin") == {(100_000, 13, 16): [7, -3], (11, 12, 16): [big]}
    assert written.rows == 3 and written.path.stat().st_size == 60
    assert [file.name for file in tmp_path.iterdir()] == ["v.bin"]


def test_other_ids_get_numbers_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, names = tmp_path / "v.bin", tmp_path / "v.bin.items.parquet"
    catalogue = EngineCatalogue(["B01", "007", "x"], CODES, [2, 2, 3])
    assert [file.path for file in write_vocabulary(path, catalogue)] == [path, names]
    assert "v.bin.items.parquet has the id of each" in " ".join(capsys.readouterr().err.split())
    table = tables.read(names, ["item_number", "item_id"])
    item_of = dict(zip(table.column("item_number").to_pylist(), table.column("item_id").to_pylist(), strict=True))
    found = {tokens: [item_of[number] for number in numbers] for tokens, numbers in read(path).items()}
    assert found == {(0, 1, 2): ["B01", "x"], (1, 0, 2): ["007"]}
    path.unlink()
    with pytest.raises(InputError, match=r"items\.parquet: the file is there already"):
        write_vocabulary(path, catalogue)
    assert not path.exists()
    write_vocabulary(path, catalogue, force=True)
    assert path.exists() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("item", ["007", "+1", "1.0", "", "٣", "-0", str(2**63), "1" * 30])
def test_ids_that_a_number_would_not_give_back(item: str) -> None:
    assert whole_numbers(["1", item]) is None


def test_other_levels_are_refused(tmp_path: Path) -> None:
    check_levels(3)
    with pytest.raises(InputError, match="exactly three tokens for each item, and these semantic IDs have 2 levels"):
        write_vocabulary(tmp_path / "v.bin", EngineCatalogue(["7", "8", "9"], CODES[:, :2], [2, 2]))
    assert not list(tmp_path.iterdir())
