"""Searches over allowed nodes against searches over the trie of the allowed items, and against scoring all items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors, beam_search, beam_search_with_prefix
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems, ItemChoice
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.hypothesis_caches import SharedPrefix
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.models import make_model
from tests.support.two_devices import DEVICE, TwoDevices


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=12), st.data())
def test_a_node_is_allowed_if_an_item_below_it_is(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    codes = np.asarray(rows, dtype=np.int32)
    mask = np.asarray(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    trie = build_trie(codes)
    choices = [ItemChoice.of_mask(mask), ItemChoice.of_mask(~mask)]
    items = AllowedItems(choices, np.asarray([1, 0, 1]))
    for wanted, choice in zip((mask, ~mask), choices, strict=True):
        assert choice.mask().tolist() == wanted.tolist() and 2 * len(choice.rows) <= len(wanted)
        assert choice.allows(np.arange(len(wanted))).tolist() == wanted.tolist()
    nodes = items.nodes([1, 0], trie, CPU)
    # Another batch has the nodes of its own choices alone.
    assert items.nodes([2], trie, CPU).levels[0].tolist() == [nodes.levels[0][1].tolist()]
    assert items.nodes([0, 2], trie, CPU).numbers.tolist() == [0, 0]
    for level in range(3):
        prefixes = sorted({row[: level + 1] for row in rows})
        for choice, allowed in enumerate((mask, ~mask)):
            expected = [
                any(ok for row, ok in zip(rows, allowed, strict=True) if row[: level + 1] == prefix)
                for prefix in prefixes
            ]
            assert nodes.levels[level][choice].tolist() == expected
    assert nodes.numbers.tolist() == [0, 1] and nodes.select([1, 1, 0]).numbers.tolist() == [1, 1, 0]


def test_masks_are_made_anew_for_another_trie_device_or_choice_and_kept_otherwise() -> None:
    mask = np.asarray([True, False, False])
    items = AllowedItems.same_for_all(mask, 3)
    assert [items.of(prompt).mask().tolist() for prompt in range(3)] == [mask.tolist()] * 3
    first, second = (build_trie(np.asarray(codes, dtype=np.int32)) for codes in ([[0], [1], [1]], [[2], [0], [1]]))
    nodes = items.nodes([0, 1], first, CPU)
    assert nodes.levels[0].tolist() == [[True, False]]
    assert items.nodes([2], first, CPU).levels[0] is nodes.levels[0]
    assert items.nodes([0, 1], second, CPU).levels[0].tolist() == [[False, False, True]]
    elsewhere = items.nodes([0, 1], second, torch.device("meta"))
    assert elsewhere.levels[0].is_meta and elsewhere.numbers.is_meta
    assert nodes.select([]).numbers.tolist() == []


def test_a_gpu_finds_the_same() -> None:
    trie = build_trie(np.asarray([[0, 1], [0, 2], [1, 1]], dtype=np.int32))
    items = AllowedItems(
        [ItemChoice.of_mask(np.asarray(mask)) for mask in ([True, False, False], [False, True, True])],
        np.asarray([0, 1]),
    )
    parents = torch.tensor([0, 1])
    scores = torch.zeros(2, 2)
    with TwoDevices():
        nodes = items.nodes([0, 1], trie, DEVICE).select([1, 0])
        assert TwoDevices.is_on_device(nodes.numbers) and all(map(TwoDevices.is_on_device, nodes.levels))
        masked = nodes.mask(1, parents, parents * 2, scores)
    # The first parent, of the second choice, has the leaves 0 and 1; the other one, of the first choice, has leaf 2.
    assert torch.isfinite(masked).tolist() == [[False, True], [False, False]]


def test_a_catalogue_of_one_item_that_one_prompt_may_not_have() -> None:
    model, trie = make_model("qwen3", VOCAB, seed=3), build_trie(np.zeros((1, 3), dtype=np.int32))
    tensors, prompts = TrieTensors(trie, token_ids(3), CPU), [[3, 4], [5, 6, 7]]
    choices = [ItemChoice.of_mask(np.asarray([is_allowed])) for is_allowed in (True, False)]
    nodes = AllowedItems(choices, np.asarray([0, 1])).nodes([0, 1], trie, CPU)
    beam = beam_search_with_prefix(SharedPrefix(make_runner(model), prompts, 3), prompts, tensors, 2, PAD, None, nodes)
    exact = exact_search(model, prompts, tensors, beam, 2, allowed=nodes).ranking
    for found in (beam, exact):
        assert found.leaves.tolist() == [[0, -1], [-1, -1]]
        assert np.isneginf(found.scores).tolist() == [[False, True], [True, True]]
    np.testing.assert_allclose(exact.scores[0, 0], every_score(model, prompts[0], trie, token_ids(3))[0], atol=1e-4)


def test_prompts_with_fewer_ids_than_others_beside_a_node_with_fewer_children() -> None:
    """Rows of a batch are as long as the longest; what fills the others may not lead out of the trie."""
    _, prompts = case(2, items=1, levels=1, prompts=8)
    model, trie = (
        make_model("qwen3", VOCAB, seed=3),
        build_trie(np.asarray([[0, 0, 0], [0, 1, 0], [1, 0, 0]], np.int32)),
    )
    choices = [ItemChoice.of_mask(np.asarray(mask)) for mask in ([True] * 3, [True, False, True])]
    nodes = AllowedItems(choices, np.asarray([0, *[1] * 7])).nodes(range(8), trie, CPU)
    prefix, tensors = SharedPrefix(make_runner(model), prompts, 3), TrieTensors(trie, token_ids(3), CPU)
    found = beam_search_with_prefix(prefix, prompts, tensors, 3, PAD, None, nodes)
    for row, prompt in enumerate(prompts):
        scores = every_score(model, prompt, trie, token_ids(3))
        best = [leaf for leaf in np.argsort(-scores).tolist() if row == 0 or leaf != 1]
        assert found.leaves[row].tolist() == best + [-1] * (3 - len(best))
    assert {0, 2} <= set(found.leaves[1:, 0].tolist())  # either node comes first somewhere


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
@pytest.mark.parametrize("beams", [4, 60])
def test_lists_are_those_of_the_trie_of_the_allowed_items(kind: str, beams: int) -> None:
    codes, prompts = case(1, items=60, levels=3, prompts=5)
    codes[11], codes[12] = codes[10], codes[10]  # three items with one semantic ID
    model, trie, ids = make_model(kind, VOCAB, seed=3), build_trie(codes), token_ids(3)
    rng = np.random.default_rng(5)
    masks = rng.random((4, len(codes))) < np.asarray([0.05, 0.5, 2.0, 0.0])[:, None]
    masks[0, [3, 11]] = True
    # The last prompt may have nothing.
    allowed = AllowedItems([ItemChoice.of_mask(mask) for mask in masks], np.asarray([0, 1, 2, 0, 3]))
    nodes, tensors = allowed.nodes(range(5), trie, CPU), TrieTensors(trie, ids, CPU)
    prefix = SharedPrefix(make_runner(model), prompts, 3)
    found = beam_search_with_prefix(prefix, prompts, tensors, beams, PAD, None, nodes)
    exact = exact_search(model, prompts, tensors, found, 4, pad_id=PAD, batch_size=3, allowed=nodes).ranking
    assert (found.leaves[4] == -1).all() and (exact.leaves[4] == -1).all()
    for number in range(4):
        rows = np.flatnonzero(allowed.of(number).mask())
        part = build_trie(codes[rows])
        alone = beam_search(model, [prompts[number]], TrieTensors(part, ids, CPU), beams, PAD)
        kept, count = found.leaves[number] >= 0, int((alone.leaves[0] >= 0).sum())
        np.testing.assert_array_equal(
            trie.leaf_codes[found.leaves[number][kept]], part.leaf_codes[alone.leaves[0][:count]]
        )
        np.testing.assert_allclose(found.scores[number][kept], alone.scores[0][:count], atol=1e-5)
        np.testing.assert_allclose(found.dropped[number], alone.dropped[0], atol=1e-5)
        scores = every_score(model, prompts[number], part, ids)
        best = np.argsort(-scores, kind="stable")[:4]
        kept = exact.leaves[number] >= 0
        np.testing.assert_array_equal(trie.leaf_codes[exact.leaves[number][kept]], part.leaf_codes[best])
        np.testing.assert_allclose(exact.scores[number][kept], scores[best], atol=1e-4)
