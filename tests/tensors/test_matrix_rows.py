from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gti_cli.tensors.matrix_rows import StoredRows, blocks
from gti_cli.tensors.safetensors_rows import read_header


def test_rows_in_a_file_behave_as_the_tensor(tmp_path: Path) -> None:
    whole = torch.randn(9, 4).bfloat16()
    save_file({"m": whole}, tmp_path / "x.safetensors")
    rows, known = StoredRows(read_header(tmp_path / "x.safetensors")["m"], 7), whole[:7].float()
    assert rows.shape == (7, 4) and len(rows) == 7
    for which in (slice(None), slice(2, 5), slice(5, 99), slice(7, 9), torch.tensor([3, 0, 3]), torch.tensor([6])):
        assert torch.equal(rows[which], known[which])
    assert torch.equal(torch.cat(list(blocks(rows, 2))), known)
    assert [len(block) for block in blocks(rows, 3)] == [3, 3, 1]
    with pytest.raises(IndexError):
        rows[torch.tensor([7])]
