"""Figures of distillation, against one example at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.geometry.spectrum import effective_rank
from gti_cli.grounding.distil.batches import DistilCollator, DistilCorpus
from gti_cli.grounding.distil.measures import DistilMeasures, distance_report
from gti_cli.grounding.distil.objective import DistilModel
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.distillation import random_corpus, states_of
from tests.support.grounding import NEW_IDS, PAD, model_of


def test_report_equals_one_example_at_a_time() -> None:
    model, corpus = model_of("qwen3"), random_corpus(9)
    sums = dict.fromkeys(("error", "power", "positions", "following", "nll", "phrase", "token"), 0.0)
    with torch.no_grad():
        for example in corpus.examples:
            m = example.shared
            (wanted, teacher), (found, student) = (
                states_of(model, ids, None) for ids in (example.teacher, example.student)
            )
            sums["error"] += float((found[-m - 1 :] - wanted[-m - 1 :]).square().sum())
            sums["power"] += float(wanted[-m - 1 :].square().sum())
            sums["positions"] += m + 1
            sums["token"] -= float(student[example.first - 1].log_softmax(-1)[example.student[example.first]])
            for place in range(-m, 0):
                sums["nll"] -= float(student[place - 1].log_softmax(-1)[example.student[place]])
                sums["phrase"] -= float(teacher[place - 1].log_softmax(-1)[example.teacher[place]])
            sums["following"] += m
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        report = distance_report(
            DistilModel(model, rows, nll_weight=2.0), DistilCollator(corpus, PAD), range(9), torch.device("cpu"), size=4
        )
    width = rows.embedding.shape[1]
    assert report == pytest.approx(
        {
            "held_out_loss": sums["error"] / sums["positions"] / width
            + 2 * (sums["token"] + sums["nll"]) / sums["positions"],
            "hidden_mse": sums["error"] / sums["positions"] / width,
            "hidden_distance": (sums["error"] / sums["power"]) ** 0.5,
            "loss_token": sums["token"] / 9,
            "loss_following": sums["nll"] / sums["following"],
            "loss_following_phrase": sums["phrase"] / sums["following"],
        },
        rel=1e-5,
    )


def job_of(most: int) -> Any:
    """The parts of a job that the measures read."""
    tokens = SimpleNamespace(codes_or_all=lambda: np.arange(4))
    options = SimpleNamespace(held_out_sample=most)
    return SimpleNamespace(options=options, seed=0, sharding=None, device=torch.device("cpu"), new_tokens=tokens)


def test_measures_are_the_report_on_a_sample_and_the_rank_of_the_described_rows() -> None:
    model, corpus = model_of("qwen3"), random_corpus(9)
    rows = NewRows(model, NEW_IDS)
    trained, collator = DistilModel(model, rows), DistilCollator(corpus, PAD)
    with rows.attached():
        every = DistilMeasures(job_of(9), trained, collator)
        figures = every.curve_figures()
        expected = distance_report(trained, collator, range(9), torch.device("cpu"))
        some = DistilMeasures(job_of(4), trained, collator)
        assert some.curve_figures().keys() == figures.keys() and some.curve_figures() != figures
    assert every.examples == 9 and some.examples == 4
    assert {name: figures[name] for name in expected} == expected
    assert figures["effective_rank"] == effective_rank(rows.embedding.detach().numpy()[:4])
    assert every.retrieval_figures() == {}


def test_without_held_out_contexts_only_the_rows_are_measured() -> None:
    model = model_of("phi", False)
    rows = NewRows(model, NEW_IDS)
    measures = DistilMeasures(job_of(9), DistilModel(model, rows), DistilCollator(DistilCorpus([]), PAD))
    assert measures.examples == 0
    assert measures.curve_figures().keys() == {"effective_rank", "output_effective_rank"}
