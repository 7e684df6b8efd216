"""The constraint for ``generate``: what it allows against a loop over all items, and ``generate`` itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.constraints.logits_processor import SemanticIdLogitsProcessor
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.models import make_model

EOS = 2


@pytest.mark.parametrize(("opening", "closing", "eos"), [([], [], None), ([], [], EOS), ([100], [101, 102], EOS)])
def test_it_allows_what_continues_to_an_item(opening: list[int], closing: list[int], eos: int | None) -> None:
    codes, _ = case(3, items=30, levels=3, prompts=1)
    ids = token_ids(3)
    answers = {(*opening, *(int(ids[n][c]) for n, c in enumerate(row)), *closing) for row in codes}
    answers = {(*answer, eos) if eos is not None else answer for answer in answers}  # type: ignore[misc]
    processor = SemanticIdLogitsProcessor(
        codes, ids, prompt_length=4, eos_token_id=eos, opening=opening, closing=closing
    )
    rng = np.random.default_rng(0)
    length = len(next(iter(answers)))
    assert processor.new_tokens == length
    known = sorted(answers)
    for written in range(length + 1):
        rows = [list(known[n])[:written] for n in rng.integers(0, len(known), 6)]
        rows += [rng.integers(0, VOCAB, written).tolist()]  # no item begins like this, or hardly ever
        scores = torch.from_numpy(rng.normal(size=(len(rows), VOCAB)).astype(np.float32))
        prompts = rng.integers(0, VOCAB, (len(rows), 4)).tolist()
        found = processor(torch.tensor([p + row for p, row in zip(prompts, rows, strict=True)]), scores.clone())
        for row, before, after in zip(rows, scores, found, strict=True):
            allowed = {answer[written] for answer in known if list(answer[:written]) == row and written < length}
            if written >= length and eos is not None:
                allowed = {eos}  # ``generate`` fills finished sequences up
            in_codes = len(opening) <= written < len(opening) + 3 and row[: len(opening)] == opening
            if not in_codes and row not in [list(answer[:written]) for answer in known]:
                continue  # what is fixed for all items is not compared with what was written
            expected = [float(before[token]) if token in allowed else -np.inf for token in range(VOCAB)]
            assert after.tolist() == expected


@pytest.mark.parametrize("items", [40, 3])
def test_generate_gives_the_lists_of_the_beam_search(items: int) -> None:
    codes, prompts = case(1, items=items, levels=3, prompts=3)
    model: Any = make_model("qwen3", VOCAB, seed=3)
    trie, ids = build_trie(codes), token_ids(3)
    longest = max(map(len, prompts))
    padded = torch.tensor([[PAD] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    processor = SemanticIdLogitsProcessor(codes, ids, prompt_length=longest)
    beams = min(trie.leaves, 20)
    out = model.generate(
        padded,
        attention_mask=mask,
        logits_processor=[processor],
        max_new_tokens=processor.new_tokens,
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=0.0,
        do_sample=False,
        pad_token_id=PAD,
        eos_token_id=None,
        output_scores=True,
        return_dict_in_generate=True,
    )
    ours = beam_search(model, prompts, TrieTensors(trie, ids, CPU), beams, PAD)
    written = out.sequences[:, longest:].view(3, beams, 3).numpy()
    for row, prompt in enumerate(prompts):
        answers = np.stack([ids[level][trie.leaf_codes[ours.leaves[row], level]] for level in range(3)], axis=1)
        np.testing.assert_array_equal(written[row], answers)
        scores = out.sequences_scores.view(3, beams)[row].numpy()
        np.testing.assert_allclose(scores, ours.scores[row], atol=1e-4)
        if items < 20:  # a beam as wide as the catalogue drops nothing
            np.testing.assert_allclose(scores, np.sort(every_score(model, prompt, trie, ids))[::-1], atol=1e-4)


def test_prompts_longer_than_the_sequences_are_an_error() -> None:
    processor = SemanticIdLogitsProcessor(np.zeros((1, 3), dtype=np.int32), token_ids(3), prompt_length=9)
    with pytest.raises(ValueError, match="sequences of 4 tokens, but prompts of 9"):
        processor(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, VOCAB))  # type: ignore[arg-type]
