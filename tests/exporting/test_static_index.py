from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.exporting import static_index
from gti_cli.exporting.engine_catalogue import EngineCatalogue
from gti_cli.exporting.static_index import build_static_index, write_static_index


class Reader:
    """STATIC's decoding as its paper describes it: the tokens that may follow, and the state behind each of them."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        self.dense = arrays["dense_mask"].ndim

    def start(self) -> list[tuple[int, int]]:
        """First tokens; the state behind token t is t + 1."""
        return [(int(token), int(token) + 1) for token in np.flatnonzero(self.arrays["start_mask"])]

    def follow(self, state: int, length: int) -> list[tuple[int, int]]:
        """Tokens that may follow a state, ``length`` tokens behind the root, and the states behind them."""
        if length < self.dense:  # the dense table: the row of the only token before
            row = self.arrays["dense_mask"][state - 1]
            return [(int(token), int(self.arrays["dense_states"][state - 1, token])) for token in np.flatnonzero(row)]
        # A block of a fixed length is read, as an accelerator does, and then cut to the state's own length.
        first, end = self.arrays["csr_indptr"][state : state + 2]
        block = int(self.arrays["max_branch_factors"][length])
        assert end - first <= block and first + block <= len(self.arrays["packed_csr"])
        rows = self.arrays["packed_csr"][first : first + block][: end - first]
        return [(int(token), int(following)) for token, following in rows]

    def sequences(self) -> list[tuple[int, ...]]:
        """All sequences that the index allows, in order."""
        found = [((token,), state) for token, state in self.start()]
        for length in range(1, len(self.arrays["max_branch_factors"])):
            found = [
                ((*tokens, token), following)
                for tokens, state in found
                for token, following in self.follow(state, length)
            ]
        assert all(state == 0 for _, state in found)
        return [tokens for tokens, _ in found]


@given(data=st.data(), dense=st.sampled_from([1, 2]))
def test_the_index_allows_the_catalogue_and_nothing_else(data: Any, dense: int) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=dense + 1, max_size=5))
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    rows = data.draw(st.lists(row, min_size=1, max_size=30))
    index = build_static_index(build_trie(np.asarray(rows, dtype=np.int32)), sizes, dense)
    first = np.cumsum([0, *sizes[:-1]])
    assert Reader(vars(index)).sequences() == sorted({tuple((np.asarray(row) + first).tolist()) for row in rows})
    vocabulary, branches = sum(sizes), index.max_branch_factors.tolist()
    prefixes = [{row[:length] for row in rows} for length in range(len(sizes) + 1)]
    assert branches == [
        max(sum(longer[:length] == prefix for longer in prefixes[length + 1]) for prefix in prefixes[length])
        for length in range(len(sizes))
    ]
    states = 1 + vocabulary + sum(map(len, prefixes[2:-1]))
    assert len(index.csr_indptr) == states + 2 and index.csr_indptr[-1] == len(index.packed_csr)
    assert (index.packed_csr[-vocabulary:] == [vocabulary, 0]).all()
    assert index.dense_mask.shape == index.dense_states.shape == (vocabulary,) * dense
    types = (index.start_mask.dtype, index.dense_states.dtype, index.packed_csr.dtype, index.csr_indptr.dtype)
    assert types == (bool, np.int32, np.int32, np.int32)


def test_the_file_leads_from_logits_to_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = np.asarray([[1, 0, 2], [0, 1, 0], [1, 0, 2]], dtype=np.int32)
    tokens = [np.asarray([40, 41]), np.asarray([52, 51]), np.asarray([7, 8, 9])]
    catalogue = EngineCatalogue(["ü", "b", "c"], codes, [2, 2, 3], token_ids=tokens, vocabulary=60)
    (written,), index = write_static_index(tmp_path / "index", catalogue)
    assert "1 items share the semantic ID of another" in capsys.readouterr().err
    with np.load(tmp_path / "index", allow_pickle=False) as file:
        arrays = dict(file)
    assert [path.name for path in tmp_path.iterdir()] == ["index"] and written.rows == 4
    assert (arrays["vocab_size"], arrays["d_dense"], index.dense_levels) == (7, 2, 2)
    items: dict[tuple[int, ...], list[str]] = {}
    for row, item in zip(arrays["semantic_ids"].tolist(), arrays["item_ids"].tolist(), strict=True):
        items.setdefault(tuple(row), []).append(item)
    found = {tuple(arrays["token_ids"][list(path)].tolist()): items[path] for path in Reader(arrays).sequences()}
    assert found == {(40, 51, 7): ["b"], (41, 52, 9): ["ü", "c"]}
    write_static_index(tmp_path / "again", catalogue)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()


def test_few_levels_and_many_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="at least two levels, and these have one"):
        write_static_index(tmp_path / "x", EngineCatalogue(["a"], np.zeros((1, 1), dtype=np.int32), [2]))
    assert not list(tmp_path.iterdir())
    pairs = EngineCatalogue(["a", "b"], np.asarray([[0, 1], [1, 1]], dtype=np.int32), [2, 2])
    assert write_static_index(tmp_path / "x", pairs)[1].dense_levels == 1
    assert "token_ids" not in np.load(tmp_path / "x") and capsys.readouterr().err == ""
    monkeypatch.setattr(static_index, "MAX_DENSE_CELLS", 35)
    wide = EngineCatalogue(["a"], np.asarray([[0, 1, 1]], dtype=np.int32), [2, 2, 2])
    index = write_static_index(tmp_path / "x", wide)[1]
    assert index.dense_levels == 1 and Reader(vars(index)).sequences() == [(0, 3, 5)]
    assert "36 cells: only the first token is looked up" in " ".join(capsys.readouterr().err.split())
