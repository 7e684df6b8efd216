"""Whether a checkpoint was fine-tuned on what it is now asked: histories, or queries."""

from __future__ import annotations

from gti_cli import console
from gti_cli.cards.history import lineage_of
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.errors import list_names
from gti_cli.workspace import Workspace

_ANSWERING = {"queries": {"search"}, "histories": {"next-item", "lc-rec"}}  # tasks that teach to answer these
_COMMAND = {"queries": "gti finetune --queries", "histories": "gti finetune --interactions"}


def trained_tasks(space: Workspace, checkpoint: Checkpoint) -> set[str] | None:
    """Names of the tasks that a checkpoint was fine-tuned on, also before its last stage.

    Args:
        space: The workspace.
        checkpoint: The checkpoint.

    Returns:
        The names; None where the manifests do not tell: another tool wrote the checkpoint or one before it.
    """
    if checkpoint.manifest is None:
        return None
    lineage = lineage_of(space, checkpoint.manifest)
    if any(manifest.command == "merge" for manifest in lineage):
        return None  # nothing tells what the adapter was trained on
    stages = [manifest for manifest in lineage if manifest.command in ("finetune", "ground", "extend")]
    tuned = [manifest for manifest in stages if manifest.command == "finetune"]
    if any("tasks" not in manifest.metrics for manifest in tuned):
        return None
    # `extend` begins with a general model. Any other beginning lies outside the workspace, or was replaced.
    if not any(manifest.command == "extend" for manifest in stages):
        return None
    return {name for manifest in tuned for name in manifest.metrics["tasks"]}


def answers(tasks: set[str], asked: str) -> bool:
    """Whether tasks of fine-tuning teach to answer ``queries`` or ``histories``."""
    return bool(tasks & _ANSWERING[asked])


def say_if_untrained(space: Workspace, checkpoint: Checkpoint, asked: str) -> dict[str, str]:
    """Print a note where a checkpoint never learned to answer what it is asked.

    Args:
        space: The workspace.
        checkpoint: The checkpoint.
        asked: ``queries`` or ``histories``.

    Returns:
        The detail ``never_trained_on`` for the manifest; nothing where the checkpoint learned it, or nobody knows.
    """
    tasks = trained_tasks(space, checkpoint)
    if tasks is None or answers(tasks, asked):
        return {}
    name = checkpoint.artifact or checkpoint.path
    what = f"fine-tuned on {list_names(sorted(tasks))} alone" if tasks else "not fine-tuned"
    console.note(
        f"{name} never saw {asked} in training (it was {what}): its lists may be as good as chance. "
        f"'{_COMMAND[asked]} …' trains on them"
    )
    return {"never_trained_on": asked}
