from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.semantic_ids.options import EncoderOptions, KMeansOptions, RQVAEOptions


def test_sizes_follow_the_embeddings() -> None:
    assert RQVAEOptions().fitted(1024) == ([1024, 512, 256], 32)
    assert RQVAEOptions().fitted(16) == ([64, 64, 64], 16)
    assert [RQVAEOptions().batch(n, 64) for n in (100, 8000, 10**6)] == [256, 500, 1024]
    assert RQVAEOptions(sinkhorn=0).batch(100, 64) == 32


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden": ()},
        {"hidden": (0,)},
        {"latent": 0},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"epochs": 0},
        {"commitment": float("nan")},
        {"warm_up": -1},
        {"start": "there"},
        {"diversity": -1.0},
        {"sinkhorn": float("nan")},
    ],
)
def test_numbers_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--"):
        RQVAEOptions(**bad).check()


@pytest.mark.parametrize("bad", [{"pooling": "max"}, {"max_tokens": 1}, {"batch_tokens": 0}])
def test_encoder_options_that_make_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--"):
        EncoderOptions(**bad).check()


@pytest.mark.parametrize("name", ["iterations", "restarts", "sample", "beam"])
def test_kmeans_options_are_positive(name: str) -> None:
    KMeansOptions(**{name: 1}).check()
    with pytest.raises(InputError, match=f"--{name} must be at least 1, not 0"):
        KMeansOptions(**{name: 0}).check()


def test_the_learning_rate_of_the_codebooks_is_checked_as_a_product() -> None:
    RQVAEOptions(learning_rate=0.05, codebook_rate=19).check()
    with pytest.raises(
        InputError, match=r"--learning-rate times --codebook-rate must be above 0 and below 1, not 1\.0"
    ):
        RQVAEOptions(learning_rate=0.05, codebook_rate=20).check()


def test_the_defaults_are_valid() -> None:
    EncoderOptions().check()
    KMeansOptions().check()
    RQVAEOptions().check()


@pytest.mark.parametrize(("given", "recorded"), [(None, 1 << 14), (1 << 14, 1 << 14), (4096, 4096)])
def test_batches_by_the_device_are_recorded_as_the_former_default(given: int | None, recorded: int) -> None:
    options = EncoderOptions(prompt="item: ", batch_tokens=given)
    assert options.recorded() == {"pooling": "auto", "prompt": "item: ", "max_tokens": None, "batch_tokens": recorded}
    again = EncoderOptions.from_recorded(options.recorded())
    assert again == EncoderOptions(prompt="item: ", batch_tokens=None if recorded == 1 << 14 else given)
