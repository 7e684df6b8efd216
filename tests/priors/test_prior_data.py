"""What a prior is tuned on: the validation part, or else the last training item of each user."""

from __future__ import annotations

from pathlib import Path

import torch

from gti_cli.priors.prior_data import PriorData
from gti_cli.tables.histories import History

ROW_OF = {"a": 0, "b": 1, "c": 2}
TRAIN = {"u": ["a", "b"], "v": ["c"]}


def test_held_out_targets() -> None:
    valid = [History("v", ["c"], "a"), History("w", ["b", "a"], "c")]
    data = PriorData(TRAIN, valid, ROW_OF, 0, torch.device("cpu"), Path("cache"))
    assert data.tuning_split() == (TRAIN, valid)
    parts, targets = data.held_out()
    assert targets == [0, 2]
    assert [(list(part.items), list(part.places), part.user) for part in parts] == [
        ([2, 0], [1], 1),
        ([1, 0, 2], [2], -1),
    ]
    without = PriorData(TRAIN, [], ROW_OF, 0, torch.device("cpu"), Path("cache"))
    assert without.tuning_split() == ({"u": ["a"], "v": ["c"]}, [History("u", ["a"], "b")])
    parts, targets = without.held_out()
    assert targets == [1] and [part.user for part in parts] == [0]
