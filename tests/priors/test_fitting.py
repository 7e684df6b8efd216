"""Fitting of priors: what each network has seen, what is trained once, and what the shares are chosen on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.baselines import sasrec_tuning
from gti_cli.errors import InputError
from gti_cli.priors import fitting, sasrec_folds
from gti_cli.priors.channels import channels_of
from gti_cli.priors.fitting import fit_prior
from gti_cli.priors.masses import Targets
from gti_cli.priors.prior_data import FittedPrior, PriorData
from gti_cli.priors.sasrec_prior import SasrecPrior
from gti_cli.tensors.vector_file import write_vectors
from tests.support.baselines import NO_SEARCH, SASREC_ROW_OF, ordered_sequences

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriorData:
    """A few users; one small network is tried, for one epoch."""
    monkeypatch.setattr(sasrec_tuning, "SEARCH", NO_SEARCH)
    budget = replace(sasrec_tuning.Budget(), epochs=1)
    monkeypatch.setattr(sasrec_tuning, "Budget", lambda: budget)
    train, valid = ordered_sequences(20)
    return PriorData({"one-item": ["i0"], **train}, valid, SASREC_ROW_OF, 0, CPU, tmp_path / "cache")


def fold_scores(fitted: FittedPrior, fold: int) -> np.ndarray:
    found: np.ndarray = fitted.of_targets.folds[fold].scores([[1, 2, 3], [4]])  # type: ignore[attr-defined]
    return found


def test_a_network_is_the_same_whatever_the_users_of_its_fold_did(data: PriorData, tmp_path: Path) -> None:
    fitted = fit_prior("sasrec", data)
    fold_of_user = fitted.of_targets.fold_of_user  # type: ignore[attr-defined]
    assert sorted(np.bincount(fold_of_user[1:]).tolist()) == [10, 10]
    changed = {
        user: items[::-1] if fold == 0 else items
        for (user, items), fold in zip(data.train.items(), fold_of_user, strict=True)
    }
    other = fit_prior("sasrec", replace(data, train=changed, cache=tmp_path / "other"))
    np.testing.assert_array_equal(fold_scores(other, 0), fold_scores(fitted, 0))
    assert np.abs(fold_scores(other, 1) - fold_scores(fitted, 1)).max() > 1e-3
    # A user's targets get the masses of the network of the user's own fold.
    user = int(np.flatnonzero(fold_of_user == 1)[-1])
    masses = fitted.of_targets.masses_of_targets([Targets([1, 2, 3], (2,), user)]).toarray()
    own = fitted.of_targets.folds[1].masses([[1, 2]]).toarray()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(masses, own)


def test_networks_are_trained_once_and_leave_the_random_numbers_alone(
    data: PriorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    fitted = fit_prior("sasrec", data)
    drawn = torch.rand(3)
    for module in (sasrec_tuning, sasrec_folds):
        monkeypatch.setattr(module, "train_network", lambda *_, **__: pytest.fail("it was trained already"))
    torch.manual_seed(5)
    again = fit_prior("sasrec", data)
    assert torch.equal(torch.rand(3), drawn)
    assert again.report == fitted.report
    np.testing.assert_array_equal(fold_scores(again, 1), fold_scores(fitted, 1))
    assert fitted.report["whole"]["temperature"] == fitted.prior.temperature  # type: ignore[attr-defined]
    assert fitted.report["fold_users"][1] == 10 and len(fitted.report["folds"]) == 2


def test_a_mixture_has_shares_for_training_and_for_use(data: PriorData) -> None:
    fitted = fit_prior("item-knn+sasrec", data)
    assert fitted.prior.name == "item-knn+sasrec"
    for shares, of in ((fitted.of_targets, "training"), (fitted.prior, "whole")):
        assert list(shares.shares) == fitted.report[of]["shares"]  # type: ignore[attr-defined]
    assert fitted.report["item-knn"]["ndcg@10"] > 0 and fitted.report["sasrec"]["epochs"] == 1


def test_content_knn_stands_beside_the_mixture_as_a_channel(data: PriorData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the workspace has none"):
        fit_prior("sasrec+content-knn", data)
    path = tmp_path / "embeddings.safetensors"
    vectors = np.random.default_rng(0).normal(size=(len(data.row_of), 4)).astype(np.float32)
    write_vectors(path, vectors.shape, [vectors])
    fitted = fit_prior("item-knn+sasrec+content-knn", replace(data, embeddings=path))
    assert fitted.prior.name == "item-knn+sasrec+content-knn"
    assert set(fitted.report) == {"item-knn+sasrec", "content-knn"}
    mixture, content = channels_of(fitted.prior)
    histories = [[1, 2], [3]]
    both = fitted.prior.masses(histories).toarray()
    np.testing.assert_array_equal(both, np.hstack([c.masses(histories).toarray() for c in (mixture, content)]))
    # In training the mixture leaves each target's user out, and content-knn has nobody to leave out.
    user = next(number for number, items in enumerate(data.train.values()) if len(items) > 3)
    rows = [data.row_of[item] for item in list(data.train.values())[user]]
    targets = fitted.of_targets.masses_of_targets([Targets(rows, (2, 3), user)]).toarray()
    np.testing.assert_allclose(targets[:, 12:], content.masses([rows[:2], rows[:3]]).toarray(), atol=1e-12)
    assert np.abs(targets[:, :12] - mixture.masses([rows[:2], rows[:3]]).toarray()).max() > 1e-3


def test_without_validation_items_the_last_training_items_are_held_out(data: PriorData) -> None:
    report = fit_prior("item-knn+sasrec", replace(data, valid=[])).report
    assert "whole" not in report and "whole" not in report["sasrec"] and report["sasrec"]["trained_again_on_all"]
    temperatures = [fold["temperature"] for fold in report["sasrec"]["folds"]]
    assert min(temperatures) <= report["sasrec"]["temperature"] <= max(temperatures)
    assert report["shares"] == report["training"]["shares"]


def test_items_that_are_left_without_mass_are_counted_and_said(
    data: PriorData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "SasrecPrior", partial(SasrecPrior, most_items=4))
    fitted = fit_prior("sasrec", data)
    kept = fitted.prior.masses([[1, 2], [3]]).getnnz(axis=1)
    assert kept.tolist() == [4, 4]
    assert 0.1 < fitted.report["mass_left_out"] < 0.9 and fitted.report["most_items"] == 4
    assert "the 4 likeliest items have mass" in " ".join(capsys.readouterr().err.split())


def test_too_few_users_are_refused(data: PriorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sasrec_tuning, "train_network", lambda *_, **__: pytest.fail("nothing is trained before"))
    one = dict(list(data.train.items())[:2])
    with pytest.raises(InputError, match="fewer than 2 users have two training items"):
        fit_prior("sasrec", replace(data, train=one, valid=list(data.valid)[:1]))
    with pytest.raises(InputError, match="--prior sasrec has no history to be tuned on"):
        fit_prior("sasrec", replace(data, train={"a": ["i0"]}, valid=[]))
