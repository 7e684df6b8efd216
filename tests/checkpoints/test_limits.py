"""Positions of a model and used rows of a matrix."""

from __future__ import annotations

import pytest

from gti_cli.checkpoints.limits import check_positions, count_used_rows
from gti_cli.errors import InputError
from tests.support.models import make_model, make_tokenizer


def test_an_example_may_fill_the_positions_and_no_more() -> None:
    config = make_model("gpt2").config
    assert config.n_positions == 512
    check_positions(config, 512, "ckpt", remedy="cut")
    with pytest.raises(InputError, match="513 tokens, more than the 512 positions"):
        check_positions(config, 513, "ckpt", remedy="cut")


def test_models_without_a_number_of_positions_take_any() -> None:
    from transformers import BloomConfig

    check_positions(BloomConfig(), 10**6, "ckpt", remedy="cut")


def test_rows_are_used_up_to_the_last_token_also_where_ids_have_gaps() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    assert count_used_rows(make_tokenizer()) == len(make_tokenizer())
    gaps = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 7}, "a")))
    assert count_used_rows(gaps) == 8 != len(gaps)
