"""Refuses a split by items that the checkpoint to start from has learned about already."""

from __future__ import annotations

from gti_cli.cards.trained_tasks import trained_tasks
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.errors import InputError
from gti_cli.tables.cold_start.held_out_items import HeldOutItems, read_held_out
from gti_cli.workspace import Workspace


def check_unseen(space: Workspace, checkpoint: Checkpoint, held: HeldOutItems) -> None:
    """Refuse a start that was trained on interactions with the held-out items.

    A start that other tools trained passes: nothing tells on what.

    Args:
        space: The workspace.
        checkpoint: The checkpoint to start from.
        held: The items to hold out.

    Raises:
        InputError: When it was fine-tuned without a split, or with one that leaves some of these items in.
    """
    of_start = read_held_out(checkpoint.path) if checkpoint.local else None
    if of_start is None and not trained_tasks(space, checkpoint):
        return
    if of_start is None or not held.all <= of_start.all:
        seen = "all items" if of_start is None else f"{len(held.all - of_start.all):,} of the held-out items"
        raise InputError(
            f"the checkpoint to start from was fine-tuned on interactions with {seen}",
            where=checkpoint.path,
            remedy="start from a checkpoint that was not fine-tuned, or hold out the items that it never saw",
        )
