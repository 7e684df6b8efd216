"""The model card of a checkpoint: written with the checkpoint, refreshed by each evaluation until somebody edits it.

This module decides when a card is written. Its fixed words are ``templates/card.md.jinja``; the rest comes from
`origin`, `history`, `results` and `usage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.cards.history import figures, input_lines, lineage_of, stage_lines
from gti_cli.cards.origin import UNKNOWN, Origin, hub_name, origin_of
from gti_cli.cards.results import describe_evaluation, find_evaluations, hub_results, metric_names
from gti_cli.cards.usage import usage_of
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.older_transformers import is_read_by_version_4
from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace, processes
from gti_cli.workspace.files import replacing
from gti_cli.workspace.manifest import Manifest, canonical_digest
from gti_cli.workspace.sealed import CARD, read_seal, seal

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData
    from jinja2 import Template

_TAGS = ("gti", "semantic-ids", "recommendation")


def write_card(space: Workspace, start: Checkpoint, manifest: Manifest, folder: Path) -> None:
    """Write the card of a new checkpoint; the argument ``describe`` of `Workspace.stage`, with the first two given.

    A card in the workspace that somebody edited is kept when its checkpoint is made again.

    Args:
        space: The workspace.
        start: What the stage started from.
        manifest: Manifest of the checkpoint.
        folder: The checkpoint, before it is moved into the workspace.
    """
    previous = _read(space.path(manifest.name) / CARD)
    if previous is not None and not _is_ours(previous):
        (folder / CARD).write_text(previous, "utf-8")
        console.warn(
            f"{space.path(manifest.name) / CARD} is not as gti wrote it, so it is kept; it may describe the checkpoint "
            "that was replaced. Delete it and run 'gti evaluate' for a new one"
        )
        return
    lineage = lineage_of(space, manifest)
    # An equal checkpoint may have stood here before: its evaluations are those of the new one.
    evaluations = find_evaluations(space, Checkpoint(str(folder), True, manifest, manifest.name))
    text = render_card(manifest, folder, origin_of(start, lineage), lineage, evaluations)
    (folder / CARD).write_text(text, "utf-8")


def refresh_card(space: Workspace, checkpoint: Checkpoint, evaluation: Manifest) -> None:
    """Put an evaluation's figures into the card of the checkpoint; a card that somebody edited stays as it is.

    A checkpoint of the workspace without a card gets one.

    Args:
        space: The workspace of the evaluation.
        checkpoint: The checkpoint that was evaluated.
        evaluation: Manifest of the evaluation.
    """
    manifest = checkpoint.manifest
    if processes.rank() or manifest is None or hub_name(checkpoint) is not None:
        return  # another process does it, gti did not make the checkpoint, or it is a copy of one on the hub
    path = Path(checkpoint.path) / CARD
    if checkpoint.artifact is not None and path.parent.is_symlink():
        console.note(f"{path.parent} is a symbolic link, so the card behind it is left as it is")
        return
    evaluations = find_evaluations(space, checkpoint, evaluation)
    previous = _read(path)
    if previous is None and checkpoint.artifact is None:
        return
    current = read_seal(previous) if previous is not None else None
    if previous is not None and (current is None or not current.intact):
        console.note(f"{path} is not as gti wrote it, so it is left as it is: its figures are not brought up to date")
        return
    if current is not None and current.state == _state(manifest, evaluations):
        return
    lineage = lineage_of(space, manifest)
    if previous is not None:
        origin = origin_of(checkpoint, lineage, is_itself=True)
    else:
        origin = origin_of(_start_of(space, manifest), lineage)
    try:
        with space.lock(), replacing(path) as temporary:
            # Another evaluation of this checkpoint may have ended since.
            evaluations = find_evaluations(space, checkpoint, evaluation)
            temporary.write_text(render_card(manifest, path.parent, origin, lineage, evaluations), "utf-8")
    except (OSError, InputError) as error:
        console.warn(f"{path} was not refreshed: {error}")


@cache
def _template() -> Template:
    """The template of a card, compiled once."""
    # Jinja is needed for the card alone, so it is not loaded with the module.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # A card is Markdown, and the filter `cell` escapes what a table shows.
    environment = Environment(  # noqa: S701 # nosec B701
        loader=PackageLoader("gti_cli.cards", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=_cell, python=repr)
    return environment.get_template("card.md.jinja")


def render_card(
    manifest: Manifest, folder: Path, origin: Origin, lineage: Sequence[Manifest], evaluations: Sequence[Manifest]
) -> str:
    """Make the text of a card, with its metadata and its seal.

    Args:
        manifest: Manifest of the checkpoint.
        folder: The checkpoint.
        origin: Where the checkpoint comes from.
        lineage: Its manifest and those of what it was made from.
        evaluations: Manifests of its evaluations.
    """
    usage = usage_of(folder, manifest)
    text = _template().render(
        metadata=card_metadata(manifest, origin, evaluations, answers_with_items=usage is not None).to_yaml(),
        name=manifest.name,
        command=manifest.command,
        details=manifest.details,
        options=manifest.options,
        origin=origin,
        licence_is_known=origin.license_name != UNKNOWN,
        usage=usage,
        reads_in_version_4=is_read_by_version_4(folder),
        stages=stage_lines(lineage),
        inputs=input_lines(lineage),
        counts=figures(manifest.counts),
        training=figures(manifest.metrics),
        evaluations=[describe_evaluation(evaluation) for evaluation in evaluations],
        identity=manifest.digest,
    )
    return seal(text, _state(manifest, evaluations))


def card_metadata(
    manifest: Manifest, origin: Origin, evaluations: Sequence[Manifest], *, answers_with_items: bool
) -> ModelCardData:
    """Return the hub's metadata of a checkpoint.

    Args:
        manifest: Manifest of the checkpoint.
        origin: Where the checkpoint comes from.
        evaluations: Manifests of its evaluations.
        answers_with_items: Whether the model was trained to answer with items.
    """
    from huggingface_hub import ModelCardData

    results = [result for evaluation in evaluations for result in hub_results(evaluation)]
    optional: dict[str, Any] = {}
    if origin.base_model is not None:
        optional = {"base_model": origin.base_model, "base_model_relation": "finetune"}
    return ModelCardData(
        license=origin.license,
        license_name=origin.license_name,
        license_link=origin.license_link,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=[*_TAGS, *(["generative-recommendation"] if answers_with_items else []), f"gti-{manifest.command}"],
        datasets=list(origin.datasets) or None,
        metrics=metric_names(evaluations) or None,
        model_name=manifest.name if results else None,
        eval_results=results or None,
        **optional,
    )


def _state(manifest: Manifest, evaluations: Sequence[Manifest]) -> str:
    """Digest of what a card is made from: it tells, without making the card, whether there is anything new."""
    return canonical_digest([manifest.digest, *(evaluation.digest for evaluation in evaluations)])[:16]


def _start_of(space: Workspace, manifest: Manifest) -> Checkpoint | None:
    """Return the checkpoint of the workspace from which another was made, for one that has no card yet."""
    for name in manifest.upstream:
        if (space.path(name) / CHECKPOINT_MANIFEST).is_file():
            return Checkpoint(str(space.path(name)), True, None, name)
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _is_ours(text: str) -> bool:
    """Return whether a card is as `gti` wrote it."""
    found = read_seal(text)
    return found is not None and found.intact


def _cell(value: Any) -> str:
    """Write a value so that it stays within one cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
