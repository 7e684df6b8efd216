"""The folds of the users, and the networks that are trained without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.priors.sasrec_folds import FoldTraining, divide_users
from tests.support.baselines import SMALL, sasrec_inputs

TRAINING = FoldTraining(sasrec_inputs(21), SMALL, 1, torch.device("cpu"))


def test_users_with_targets_are_divided_evenly() -> None:
    train = {**TRAINING.inputs.train, **{f"one-{n}": ["i0"] for n in range(9)}}
    folds = divide_users(replace(TRAINING.inputs, train=train))
    assert np.bincount(folds[:21]).tolist() == [11, 10] and len(folds) == 30
    other = divide_users(replace(TRAINING.inputs, train=train, seed=1))
    assert (other != folds).any()
    few = dict(list(train.items())[20:])
    with pytest.raises(InputError, match="fewer than 2 users have two training items"):
        divide_users(replace(TRAINING.inputs, train=few))


def test_a_damaged_cache_is_trained_again(tmp_path: Path) -> None:
    folds = divide_users(TRAINING.inputs)
    first = TRAINING.networks(folds, tmp_path)
    [file] = tmp_path.glob("[!.]*")  # and the lock of whoever makes it
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    again = TRAINING.networks(folds, tmp_path)
    assert file.read_bytes() == content
    for network, other in zip(first, again, strict=True):
        assert torch.equal(network.items.weight, other.items.weight)
    assert not torch.equal(first[0].items.weight, first[1].items.weight)
