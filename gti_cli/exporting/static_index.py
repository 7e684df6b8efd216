"""The catalogue as the index of STATIC, as numpy arrays in one ``.npz`` file.

STATIC (Su et al., "Vectorizing the Trie", 2026, arXiv 2602.22647) restricts a beam search on an accelerator without
following pointers. It looks the first tokens up in dense tables, and reads the children of deeper prefixes from rows of
a sparse matrix that lie one after another.

Its tokens are the codes of all levels, numbered on through the levels: code c of level l is the token
``sizes[0] + … + sizes[l - 1] + c``, and V is the number of them all. So the dense table of two tokens has V x V cells,
and not the square of a language model's vocabulary. ``token_ids`` says which logits of the checkpoint these tokens are.

A state is a prefix that exists. State 0 is a finished semantic ID, state t + 1 the prefix of the one token t, and
longer prefixes follow from V + 1 on, by length, then in lexicographic order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.errors import InputError
from gti_cli.exporting.engine_catalogue import EngineCatalogue, WrittenFile
from gti_cli.workspace.files import replacing

Ints = npt.NDArray[np.int32]
MAX_DENSE_CELLS = 1 << 28  # of the table for two tokens: 1.3 GB, at five bytes a cell


@dataclass(frozen=True)
class StaticIndex:
    """The arrays of STATIC for a trie of L levels and V tokens.

    Attributes:
        start_mask: (V,) bool. Whether a semantic ID begins with the token.
        dense_mask: (V,) or (V, V) bool. Whether the first tokens are a prefix that exists.
        dense_states: The same shape, int32. The state of that prefix.
        packed_csr: (transitions + V, 2) int32. Token and next state of every transition, by the state that it starts
            from; the last V rows pad, so that a read behind the last state stays inside the array.
        csr_indptr: (states + 2,) int32. The transitions of state s are rows ``csr_indptr[s]`` to
            ``csr_indptr[s + 1] - 1`` of `packed_csr`.
        max_branch_factors: (L,) int32. The most tokens that may follow a prefix of 0, 1, … L - 1 tokens.
    """

    start_mask: npt.NDArray[np.bool_]
    dense_mask: npt.NDArray[np.bool_]
    dense_states: Ints
    packed_csr: Ints
    csr_indptr: Ints
    max_branch_factors: Ints

    @property
    def dense_levels(self) -> int:
        """The number of tokens that the dense tables look up."""
        return self.dense_mask.ndim


def build_static_index(trie: Trie, sizes: list[int], dense_levels: int) -> StaticIndex:
    """Build the index from a trie.

    Args:
        trie: The semantic IDs, of at least two levels.
        sizes: The number of codes of each level.
        dense_levels: 1 or 2, and less than the number of levels.
    """
    levels, vocabulary = trie.levels, sum(sizes)
    first = np.cumsum([0, *sizes[:-1]])
    # tokens[l] and states[l] are those of the nodes of level l + 1, in the trie's order.
    tokens = [trie.codes[level] + first[level] for level in range(levels)]
    states, following = [tokens[0] + 1], vocabulary + 1
    for level in range(1, levels - 1):
        states.append(np.arange(following, following + len(tokens[level])))
        following += len(tokens[level])
    states.append(np.zeros(len(tokens[-1]), dtype=np.int64))
    branches = [np.diff(starts) for starts in trie.starts]
    counts = np.zeros(following, dtype=np.int64)
    for level in range(1, levels):
        counts[states[level - 1]] = branches[level]
    # Transitions by their start: levels follow one another, as their states do, and nodes of a level are in order.
    transitions = np.stack([np.concatenate(tokens[1:]), np.concatenate(states[1:])], axis=1)
    padding = np.tile([vocabulary, 0], (vocabulary, 1))
    ends = np.cumsum([0, *counts, vocabulary])
    dense_mask = np.zeros((vocabulary,) * dense_levels, dtype=bool)
    dense_states = np.zeros(dense_mask.shape, dtype=np.int32)
    parents = np.repeat(tokens[0], branches[1]) if dense_levels == 2 else None
    cells = (tokens[0],) if parents is None else (parents, tokens[1])
    dense_mask[cells], dense_states[cells] = True, states[dense_levels - 1]
    start_mask = np.zeros(vocabulary, dtype=bool)
    start_mask[tokens[0]] = True
    return StaticIndex(
        start_mask,
        dense_mask,
        dense_states,
        np.concatenate([transitions, padding]).astype(np.int32),
        ends.astype(np.int32),
        np.asarray(trie.max_children(), dtype=np.int32),
    )


def write_static_index(path: Path, catalogue: EngineCatalogue) -> tuple[list[WrittenFile], StaticIndex]:
    """Write the arrays of `StaticIndex`, and what is needed to come back from tokens to items.

    Args:
        path: The ``.npz`` file, written under a temporary name and renamed.
        catalogue: The catalogue.

    Returns:
        What was written, and the index.

    Raises:
        InputError: When the semantic IDs have one level: STATIC has at least one dense and one sparse level.
    """
    if catalogue.levels < 2:
        raise InputError(
            "STATIC needs semantic IDs of at least two levels, and these have one",
            remedy="build the IDs with --levels 2 or more",
        )
    sizes = [int(size) for size in catalogue.sizes]
    wide = sum(sizes) ** 2 > MAX_DENSE_CELLS
    if wide and catalogue.levels > 2:
        console.note(
            f"a dense table for two tokens would have {sum(sizes) ** 2:,} cells: only the first token is looked up in "
            "one (d_dense=1)"
        )
    index = build_static_index(build_trie(catalogue.codes), sizes, 1 if wide or catalogue.levels == 2 else 2)
    order = np.lexsort(catalogue.codes.T[::-1])
    first = np.cumsum([0, *sizes[:-1]])
    arrays: dict[str, npt.NDArray[Any]] = {
        **vars(index),
        "vocab_size": np.asarray(sum(sizes)),
        "d_dense": np.asarray(index.dense_levels),
        "semantic_ids": (catalogue.codes + first)[order].astype(np.int32),
        "item_ids": np.asarray(list(catalogue.item_ids))[order],
    }
    if catalogue.token_ids is not None:
        arrays["token_ids"] = np.concatenate(list(catalogue.token_ids))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    shared = len(order) - catalogue.semantic_ids
    if shared:
        console.note(f"{shared:,} items share the semantic ID of another: STATIC finds the ID, which stands for all")
    transitions = len(index.packed_csr) - sum(sizes)
    return [WrittenFile(path, f"transitions between {len(index.csr_indptr) - 2:,} states", transitions)], index
