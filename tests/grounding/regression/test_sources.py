"""Shares of processes are disjoint and complete; rows that answers name; passes that are found in files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression import sources
from gti_cli.grounding.regression.kept_states import StateStore
from gti_cli.grounding.regression.sources import Source, Spent
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import NEW_IDS, OLD, PAD, model_of
from tests.support.regression import to_tokens


def test_shares_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    examples, templates = to_tokens(150)
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 150, set(NEW_IDS.tolist()))
    numbers = list(range(10, 150))
    spent = Spent()
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        assert trained.rule is not None

        def source(folder: Path | None = None) -> Source:
            store = StateStore(folder, torch.device("cpu"))
            return Source("some pairs", trained, corpus, numbers, PAD, store, spent)

        whole = source()
        assert whole.places() == 4 and not whole.shared
        for place in range(3):
            tokens = {examples[number].answer[place] - OLD for number in numbers}
            assert whole.named([place]).tolist() == sorted(tokens)
        assert not len(whole.named([3, 4]))  # the end of the turn is no new token, and no answer is longer
        alone = whole.positions([1], trained.rule, "start")[0]
        shares = []
        monkeypatch.setenv("WORLD_SIZE", "2")
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            share = source(tmp_path / rank)
            assert share.shared
            shares.append(share.positions([1], trained.rule, "start")[0])
        together = torch.cat([share.old for share in shares])
        assert len(alone) == 140 and 0 < len(shares[1]) < 140
        torch.testing.assert_close(together.sort().values, alone.old.sort().values, rtol=0, atol=1e-6)
        # The second process again: it finds its files.
        passes = spent.passes
        again = source(tmp_path / "1")
        found = again.positions([1], trained.rule, "start")[0]
        assert torch.equal(found.states[:], shares[1].states[:]) and torch.equal(found.targets, shares[1].targets)
        assert spent.passes == passes == 3
        names = ["some-pairs-start-1.safetensors", "some-pairs-start-1.states"]
        assert sorted(path.name for path in (tmp_path / "1").iterdir()) == names
        # What stands behind other rows is another file.
        again.positions([1], trained.rule, "fitted")
        assert spent.passes == 4


def test_a_pass_is_shown_and_counted_and_keeps_the_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    examples, templates = to_tokens(70)
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 70, set(NEW_IDS.tolist()))
    shown: list[Any] = []
    prompts: list[int] = []
    dtypes: list[torch.dtype] = []

    @contextmanager
    def progress(what: str, total: int, unit: str) -> Iterator[Any]:
        shown.append((what, total, unit))
        yield shown.append

    compute = GroundingModel._compute_context
    monkeypatch.setattr(GroundingModel, "_compute_context", lambda *given: prompts.append(1) or compute(*given))
    monkeypatch.setattr(StateStore, "find", lambda self, name, dtype: dtypes.append(dtype))
    monkeypatch.setattr(sources.console, "progress", progress)
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=itertools.count(100, 7).__next__))
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        source = Source("pairs", trained, corpus, range(70), PAD, StateStore(None, torch.device("cpu")))
        assert trained.rule is not None and (source.spent.passes, source.spent.pass_seconds) == (0, 0.0)
        for places in ([1, 2, 3], [2]):
            source.positions(places, trained.rule, "start")
    titles = [f"Hidden states, pairs, {where}" for where in ("places 1 to 3", "place 2")]
    assert shown == [part for title in titles for part in ((title, 70, "examples"), 64, 6)]
    assert len(prompts) == 2 and dtypes == [torch.float32] * 4  # the second pass has the keys and values of prompts
    assert (source.spent.passes, source.spent.pass_seconds) == (2, 14)
