"""Read a batch of prompts behind a template prefix, where some of them are kept from earlier searches.

What is kept is not read again. Prompts that are read in full and those that go on from a kept one are run apart, so
that none is padded to the length of the others; then their caches become one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts, KeyValues
from gti_cli.decoding.runner import Runner


@dataclass(frozen=True)
class ReadPrompts:
    """A batch of B prompts that the model has read.

    Attributes:
        cache: Their key-value cache of T places.
        mask: (B, T) int64, 1 for a token and 0 for padding.
        features: (B, 1, …) the runner's features after each prompt.
    """

    cache: Any
    mask: torch.Tensor
    features: torch.Tensor


def read_prompts(runner: Runner, cache: Any, length: int, rests: Sequence[Sequence[int]], pad_id: int) -> ReadPrompts:
    """Run the model over prompts that begin with the same tokens.

    Args:
        runner: The model, and how it can be run.
        cache: Key-value cache of the ``length`` shared tokens; it is copied.
        length: Number of shared tokens.
        rests: The tokens of each prompt behind them, at least one.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
    """
    grown = copy.deepcopy(cache)
    if length and len(rests) > 1:
        grown.batch_repeat_interleave(len(rests))
    mask = torch.ones(len(rests), length, dtype=torch.long)
    return _read_on(runner, grown, mask, rests, pad_id)


def read_kept_prompts(
    runner: Runner, cache: Any, number: int, rests: Sequence[Sequence[int]], pad_id: int, kept: KeptPrompts
) -> ReadPrompts:
    """Run the model over what is not kept of prompts that begin with a template prefix, and keep them all.

    Args:
        runner: The model, and how it can be run.
        cache: Key-value cache of the template prefix; it is copied.
        number: Number of the template prefix.
        rests: The tokens of each prompt behind it, at least one.
        pad_id: As for `read_prompts`.
        kept: The cache of prompts.
    """
    length = int(cache.layers[0].keys.shape[2])
    known = [kept.find(number, rest) for rest in rests]
    new = [row for row, entry in enumerate(known) if entry is None]
    old = [row for row, entry in enumerate(known) if entry is not None]
    parts = []
    if new:
        parts.append(read_prompts(runner, cache, length, [rests[row] for row in new], pad_id))
    if old:
        entries = [entry for entry in known if entry is not None]
        begun, mask = _begin(cache, length, entries, runner.model.device)
        ends = [rests[row][count:] for row, (_, count) in zip(old, entries, strict=True)]
        parts.append(_read_on(runner, begun, mask, ends, pad_id))
    read = parts[0] if len(parts) == 1 else _join(parts[0], parts[1], [*new, *old])
    _keep_all(read, number, rests, kept)
    return read


def _read_on(
    runner: Runner, cache: Any, before: torch.Tensor, rests: Sequence[Sequence[int]], pad_id: int
) -> ReadPrompts:
    """Run the model over further tokens; ``before`` is the (B, cached) mask of what the cache holds already."""
    device = runner.model.device
    longest = max(map(len, rests))
    ids = torch.full((len(rests), longest), pad_id)
    mask = torch.zeros(len(rests), longest, dtype=torch.long)
    for row, tokens in enumerate(rests):
        rest = torch.tensor(tokens)
        ids[row, longest - len(rest) :], mask[row, longest - len(rest) :] = rest, 1
    mask = torch.cat([before, mask], dim=1).to(device)
    # Padding stands between what is cached and the rest. It is masked out, and positions count real tokens only.
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, before.shape[1] :]
    return ReadPrompts(cache, mask, runner(cache, ids.to(device), mask, positions, 1))


def _begin(
    cache: Any, length: int, entries: Sequence[tuple[KeyValues, int]], device: torch.device
) -> tuple[Any, torch.Tensor]:
    """A cache of the template prefix and, behind padding, of the first tokens of kept prompts; and its mask."""
    from transformers import DynamicCache

    longest = max(count for _, count in entries)
    keys, values = (
        _padded([getattr(entry, name)[:, :count] for entry, count in entries], longest) for name in ("keys", "values")
    )
    begun = DynamicCache()
    for layer, shared in enumerate(cache.layers):
        size = (len(entries), -1, -1, -1)
        begun.update(
            torch.cat([shared.keys.expand(size), keys[layer]], dim=2),
            torch.cat([shared.values.expand(size), values[layer]], dim=2),
            layer,
        )
    counts = torch.tensor([count for _, count in entries])
    is_kept = torch.arange(longest) >= longest - counts[:, None]
    return begun, torch.cat([torch.ones(len(entries), length, dtype=torch.long), is_kept.long()], dim=1)


def _padded(tensors: Sequence[torch.Tensor], longest: int) -> torch.Tensor:
    """(layers, B, heads, longest, width) from B tensors (layers, T, heads, width), filled up on the left."""
    layers, _, heads, width = tensors[0].shape
    out = tensors[0].new_zeros(layers, len(tensors), longest, heads, width)
    for row, tensor in enumerate(tensors):
        out[:, row, longest - tensor.shape[1] :] = tensor
    return out.transpose(2, 3)


def _join(first: ReadPrompts, second: ReadPrompts, rows: Sequence[int]) -> ReadPrompts:
    """One batch of two; entry n of both together becomes row ``rows[n]``."""
    from transformers import DynamicCache

    order = torch.argsort(torch.tensor(rows, device=first.mask.device))
    longest = max(first.mask.shape[1], second.mask.shape[1])

    def together(one: torch.Tensor, other: torch.Tensor, place: int) -> torch.Tensor:
        """Both, filled up on the left to the same length, in the order of the rows."""
        filled = []
        for tensor in (one, other):
            size = list(tensor.shape)
            size[place] = longest - size[place]
            filled.append(torch.cat([tensor.new_zeros(size), tensor], dim=place))
        return torch.cat(filled)[order]

    cache = DynamicCache()
    for layer, (one, other) in enumerate(zip(first.cache.layers, second.cache.layers, strict=True)):
        cache.update(together(one.keys, other.keys, 2), together(one.values, other.values, 2), layer)
    features = torch.cat([first.features, second.features])[order]
    return ReadPrompts(cache, together(first.mask, second.mask, 1), features)


def _keep_all(read: ReadPrompts, number: int, rests: Sequence[Sequence[int]], kept: KeptPrompts) -> None:
    """Keep the prompts that are not kept as a whole."""
    new = [row for row, rest in enumerate(rests) if not kept.knows(number, rest)]
    if not new:
        return
    rows = torch.tensor(new, device=read.mask.device)
    # (layers, B, T, heads, width): the tokens of a prompt are neighbours, so that padding is cut off in one step.
    keys = torch.stack([layer.keys[rows] for layer in read.cache.layers]).transpose(2, 3)
    values = torch.stack([layer.values[rows] for layer in read.cache.layers]).transpose(2, 3)
    for place, row in enumerate(new):
        # Padding may stand before the template prefix, too: a prompt's own tokens are the last ones that are none.
        own = read.mask[row].nonzero()[-len(rests[row]) :, 0]
        kept.keep(number, rests[row], KeyValues(keys[:, place, own].contiguous(), values[:, place, own].contiguous()))
