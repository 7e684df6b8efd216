"""Bootstrap intervals of means over users, and permutation tests between two methods on the same users.

The users are the random sample, not the targets: where a user has several targets, they are resampled and flipped
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.tables.arrays.names import Names

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
PERMUTATIONS = 4999
LEVEL = 0.95
_CELLS = 4_000_000  # Random numbers held at a time.


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two methods by one metric.

    Attributes:
        difference: Mean of the first method minus mean of the second.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end of its 95 % bootstrap interval.
        p: Two-sided permutation p-value.
    """

    difference: float
    low: float
    high: float
    p: float


def intervals(
    values: dict[str, Floats], users: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals of each metric's mean, users resampled with replacement.

    Args:
        values: (U,) values of each metric, one for each target.
        users: (U,) user of each target.
        seed: Seed of the resamples. The same resamples serve all metrics.
        resamples: Number of resamples.

    Returns:
        Lower and upper end for each metric.
    """
    sums, sizes = _by_user(values, users)
    # A resample is a row of counts: how often each user was drawn. Its mean is the sum of the drawn users' values over
    # the number of their targets.
    means = np.concatenate([draw @ sums / (draw @ sizes)[:, None] for draw in _resamples(len(sizes), resamples, seed)])
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return {name: (float(low[n]), float(high[n])) for n, name in enumerate(values)}


def bounds(values: dict[str, Floats], users: Sequence[str]) -> dict[str, list[float]]:
    """Compute `intervals` with its defaults, as lists for JSON."""
    return {name: list(ends) for name, ends in intervals(values, users).items()}


def differences(
    first: dict[str, Floats],
    second: dict[str, Floats],
    users: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> dict[str, Difference]:
    """Compare two methods on the same targets, by each metric that both have.

    The p-value is that of a sign-flip test (Fisher, The Design of Experiments, 1935): if the methods were exchangeable,
    each user's difference could as well have the other sign. p = (1 + number of flips whose mean difference is as
    large) / (1 + permutations).

    Args:
        first: (U,) values of each metric.
        second: (U,) values of the same targets in the same order.
        users: (U,) user of each target.
        seed: Seed of the resamples and flips.
        resamples: Number of bootstrap resamples.
        permutations: Number of sign flips.
    """
    gaps = {name: first[name] - second[name] for name in first if name in second}
    ends = intervals(gaps, users, seed=seed, resamples=resamples)
    sums, sizes = _by_user(gaps, users)
    observed = sums.sum(axis=0)
    as_large = np.zeros(len(gaps), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for count in _chunks(permutations, len(sizes)):
        flips = rng.integers(0, 2, (count, len(sizes)), dtype=np.int8).astype(np.float64) * 2 - 1
        # Sums of the same numbers in another order differ by rounding; equal differences must still count as equal.
        as_large += (np.abs(flips @ sums) >= np.abs(observed) * (1 - 1e-9) - 1e-12).sum(axis=0)
    return {
        name: Difference(float(observed[n] / sizes.sum()), *ends[name], float((1 + as_large[n]) / (1 + permutations)))
        for n, name in enumerate(gaps)
    }


def _by_user(values: dict[str, Floats], users: Sequence[str]) -> tuple[Floats, Floats]:
    """Sums over each user's targets (G, metrics), and the number of targets (G,)."""
    encoded = Names.of(users).array.dictionary_encode()
    owner, count = np.asarray(encoded.indices, dtype=np.int64), len(encoded.dictionary)
    columns = [np.bincount(owner, weights=column, minlength=count) for column in values.values()]
    return np.stack(columns, axis=1), np.bincount(owner, minlength=count).astype(np.float64)


def _resamples(users: int, count: int, seed: int) -> Iterator[Floats]:
    """Yield how often each user is drawn, (n, users) for some of the resamples at a time."""
    rng = np.random.default_rng(seed)
    for n in _chunks(count, users):
        # Each resample counts in a range of its own, so that one bincount serves all of them.
        drawn = rng.integers(0, users, (n, users)) + np.arange(n)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=n * users).reshape(n, users).astype(np.float64)


def _chunks(total: int, width: int) -> Iterator[int]:
    """Divide ``total`` rows of ``width`` random numbers into pieces of at most `_CELLS` numbers."""
    step = max(_CELLS // max(width, 1), 1)
    for start in range(0, total, step):
        yield min(step, total - start)
