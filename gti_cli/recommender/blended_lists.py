"""The best items of a blend: the best of the union of its members' lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gti_cli.blends.candidate_table import best_of_each
from gti_cli.blends.stored_blend import BlendSource
from gti_cli.checkpoints.devices import choose_device, choose_dtype
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.errors import InputError
from gti_cli.recommender.settings import ListSettings


class LoadedBlend:
    """A blend in memory; its language models are loaded when they are first asked."""

    def __init__(self, source: BlendSource, device: str, dtype: str, batch_size: int = 32) -> None:
        """Open a blend.

        Args:
            source: The blend.
            device: ``auto``, or a device.
            dtype: ``auto``, or a number format.
            batch_size: Prompts in a batch of a language model.

        Raises:
            InputError: When a file cannot be read.
        """
        self.name, self._items = source.manifest.name, len(source.catalogue.item_ids)
        chosen = choose_device(device)
        self._opened = source.open(chosen, choose_dtype(dtype, chosen), batch_size)

    def lists(
        self,
        histories: Sequence[Sequence[int]],
        k: int,
        *,
        filter_seen: Sequence[bool],
        allowed: AllowedItems | None = None,
    ) -> list[RankedItems]:
        """The best items for each history.

        Args:
            histories: Catalogue rows, oldest first.
            k: Most items of a list.
            filter_seen: For each history, whether its items are left out.
            allowed: Which items each list may have. None: all.
        """
        k = min(k, self._items)  # no list is longer than the catalogue, whatever somebody asks for
        lists: list[RankedItems] = [RankedItems([], [])] * len(histories)
        choices = [-1] * len(histories) if allowed is None else allowed.numbers.tolist()
        keys = list(zip(choices, filter_seen, strict=True))
        # The members are asked for lists of one choice of items at a time.
        for key in dict.fromkeys(keys):
            users = [user for user, other in enumerate(keys) if other == key]
            mask = allowed.choices[key[0]].mask() if allowed is not None else None
            asked = [list(histories[user]) for user in users]
            said = self._opened.ask(
                asked, filter_seen=key[1], k=k, allowed=None if mask is None or mask.all() else mask
            )
            best, scores = best_of_each(self._opened.stored.blend.scores(said), said.candidates, k)
            for user, rows, values in zip(users, best, scores, strict=True):
                lists[user] = RankedItems(np.asarray(rows)[rows >= 0].tolist(), values[rows >= 0].tolist())
        return lists


def refuse_model_settings(name: str, settings: ListSettings, **others: bool) -> None:
    """Refuse what is about the search of one checkpoint.

    Args:
        name: Name of the blend.
        settings: Of the call.
        **others: Further options, and whether they are given.

    Raises:
        InputError: When an option is given that a blend cannot follow.
    """
    given = {
        "--search": settings.search != "auto",
        "--beams": settings.beams is not None,
        "--max-history": settings.max_history is not None,
        **{f"--{option}": is_given for option, is_given in others.items()},
    }
    flags = [flag for flag, is_given in given.items() if is_given]
    if flags:
        raise InputError(
            f"{flags[0]} is for a checkpoint, and {name!r} is a blend", remedy="leave it out, or name a checkpoint"
        )
