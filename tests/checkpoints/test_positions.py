from __future__ import annotations

import pytest

from gti_cli.checkpoints.positions import check_positions
from gti_cli.errors import InputError
from tests.support.models import make_model


def test_an_example_may_fill_the_positions_and_no_more() -> None:
    config = make_model("gpt2").config
    assert config.n_positions == 512
    check_positions(config, 512, "ckpt", remedy="cut")
    with pytest.raises(InputError, match="513 tokens, more than the 512 positions"):
        check_positions(config, 513, "ckpt", remedy="cut")


def test_models_without_a_number_of_positions_take_any() -> None:
    from transformers import BloomConfig

    check_positions(BloomConfig(), 10**6, "ckpt", remedy="cut")
