"""What an import leaves out, if asked: low ratings, other times, repeated pairs, users and items with little data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.importing.gather import ImportedInteractions
from gti_cli.importing.options import ImportOptions
from gti_cli.importing.times import parse_bound

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Filtered:
    """Interactions after a filter.

    Attributes:
        reason: Why the others were left out, in words.
        interactions: Those that stayed.
        dropped: How many went.
    """

    reason: str
    interactions: ImportedInteractions
    dropped: int


def apply_filters(interactions: ImportedInteractions, options: ImportOptions, seed: int) -> Iterator[Filtered]:
    """Apply the filters that were asked for, one behind the other.

    Their order: rating, time, repeated pairs, sample of users, k-core. The k-core comes last, so that it holds for what
    is written.

    Args:
        interactions: All that was read.
        options: The filters.
        seed: Draws the sample of users.

    Yields:
        The result of each filter.

    Raises:
        InputError: A bound in time is no time.
    """
    masks = (
        _by_rating,
        _since,
        _until,
        _by_repetition,
        lambda now, given: _by_sample(now, given, seed),
        _by_core,
    )
    for mask_of in masks:
        step = mask_of(interactions, options)
        if step is None:
            continue
        reason, mask = step
        interactions = interactions.rows(mask)
        yield Filtered(reason, interactions, int((~mask).sum()))


def _by_rating(now: ImportedInteractions, options: ImportOptions) -> tuple[str, Mask] | None:
    if options.min_rating is None:
        return None
    if np.isnan(now.rating).all():
        raise InputError("no interaction has a rating", where="--min-rating", remedy="leave the option out")
    # A missing rating (NaN) is not above any bound.
    return f"rating below {options.min_rating:g}, or none", now.rating >= options.min_rating


def _since(now: ImportedInteractions, options: ImportOptions) -> tuple[str, Mask] | None:
    bound = parse_bound(options.since, now.unit, "--since")
    return None if bound is None else (f"before {options.since}", now.time >= bound)


def _until(now: ImportedInteractions, options: ImportOptions) -> tuple[str, Mask] | None:
    bound = parse_bound(options.until, now.unit, "--until", end=True)
    return None if bound is None else (f"after {options.until}", now.time <= bound)


def _by_repetition(now: ImportedInteractions, options: ImportOptions) -> tuple[str, Mask] | None:
    if options.duplicates == "keep":
        return None
    return f"the same user and item again (--duplicates {options.duplicates})", one_per_pair(
        now, last=options.duplicates == "last"
    )


def one_per_pair(now: ImportedInteractions, *, last: bool) -> Mask:
    """Mark one interaction of every pair of user and item.

    Args:
        now: The interactions.
        last: Mark the latest of each pair, not the earliest. Of equal times the file's order decides.

    Returns:
        (N,) bool.
    """
    order = np.lexsort((np.arange(len(now)), now.time, now.item, now.user))
    user, item = now.user[order], now.item[order]
    same_as_before = np.zeros(len(now), bool)
    same_as_before[1:] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    chosen = np.ones(len(now), bool)
    if last:
        chosen[:-1] = ~same_as_before[1:]
    else:
        chosen = ~same_as_before
    mask = np.zeros(len(now), bool)
    mask[order[chosen]] = True
    return mask


def _by_sample(now: ImportedInteractions, options: ImportOptions, seed: int) -> tuple[str, Mask] | None:
    if options.max_users is None:
        return None
    present = np.unique(now.user)
    count = min(options.max_users, len(present))
    drawn = np.random.default_rng(seed).choice(present, count, replace=False)
    return f"users not drawn (--max-users {options.max_users:,})", np.isin(now.user, drawn)


def _by_core(now: ImportedInteractions, options: ImportOptions) -> tuple[str, Mask] | None:
    if options.k_core is None:
        return None
    return f"outside of the {options.k_core}-core", k_core(now.user, now.item, options.k_core)


def k_core(user: npt.NDArray[np.int32], item: npt.NDArray[np.int32], k: int) -> Mask:
    """The largest set of interactions in which every user and every item has at least ``k``.

    Users and items with fewer are taken out until none is left to take out.

    Args:
        user: (N,) number of each interaction's user.
        item: (N,) number of its item.
        k: The least number of interactions.

    Returns:
        (N,) bool; all False where there is no such set.
    """
    mask = np.ones(len(user), bool)
    while mask.any():
        of_user, of_item = np.bincount(user[mask]), np.bincount(item[mask])
        stays = (of_user[user[mask]] >= k) & (of_item[item[mask]] >= k)
        if stays.all():
            break
        mask[np.flatnonzero(mask)[~stays]] = False
    return mask
