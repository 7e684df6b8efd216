"""What a recommender is loaded from: the checkpoint and the catalogue, wherever they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gti_cli import tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.blends.stored_blend import BlendSource, blend_name, find_blend
from gti_cli.cards.trained_tasks import answers, trained_tasks
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.errors import InputError
from gti_cli.recommender.exported_folder import exported_folder, open_exported
from gti_cli.recommender.lookup import ItemLookup
from gti_cli.recommender.results import TrainedOn
from gti_cli.tables import SemanticIDs
from gti_cli.tables.arrays.item_texts import ItemTexts
from gti_cli.tables.arrays.name_columns import text_names, unique_names
from gti_cli.workspace import Workspace


@dataclass(frozen=True)
class RecommenderFiles:
    """All that a recommender reads. A workspace fills it (`read_workspace`); other sources can.

    Attributes:
        name: What the checkpoint or the blend is called.
        catalogue: All items with their semantic IDs.
        sizes: Number of codes of each level.
        titles: Title of each item by its id.
        checkpoint: The checkpoint. None: a blend.
        blend: The blend. None: a checkpoint.
        embeddings: ``embeddings.safetensors`` with a row for each item. None: there is none.
        trained_on: What the checkpoint was fine-tuned to answer.
    """

    name: str
    catalogue: SemanticIDs = field(repr=False)
    sizes: Sequence[int]
    titles: Mapping[str, str] = field(repr=False)
    checkpoint: Checkpoint | None = None
    blend: BlendSource | None = None
    embeddings: Path | None = None
    trained_on: TrainedOn = field(default_factory=TrainedOn)


def read_workspace(space: Workspace, checkpoint: str | None, base: str | None = None) -> RecommenderFiles:
    """Find a checkpoint or a blend, and read the catalogue of a workspace; or read a folder that was exported.

    Args:
        space: The workspace, or in its place the folder that ``gti export recommender`` wrote.
        checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None: ``finetuned``.
        base: Base model of an adapter. None: the one that it names.

    Raises:
        InputError: When something is missing, or the checkpoint does not fit the semantic IDs.
    """
    exported = exported_folder(space.root, checkpoint)
    if exported is not None:
        return _read_exported(exported, checkpoint, base)
    embeddings = space.path(EMBEDDINGS) if space.path(EMBEDDINGS).is_file() else None
    blend = blend_name(space, checkpoint)
    if blend is not None:
        opened = find_blend(space, blend)
        sizes, trained_on = opened.ids.details["sizes"], TrainedOn(histories=True, queries=False)
        titles = read_titles(space.path("items.parquet"))
        return RecommenderFiles(blend, opened.catalogue, sizes, titles, None, opened, embeddings, trained_on)
    ids = space.require("semantic_ids", "gti build-ids")
    source = find_checkpoint(space, checkpoint, "finetuned", "gti finetune", adapters=True, base=base)
    check_same_ids(source, ids)
    tasks = trained_tasks(space, source)
    return RecommenderFiles(
        source.artifact or source.path,
        tables.read_semantic_ids(space.path("semantic_ids.parquet")),
        ids.details["sizes"],
        read_titles(space.path("items.parquet")),
        source,
        None,
        embeddings,
        TrainedOn() if tasks is None else TrainedOn(answers(tasks, "histories"), answers(tasks, "queries")),
    )


def _read_exported(folder: Path, checkpoint: str | None, base: str | None) -> RecommenderFiles:
    """Read what ``gti export recommender`` wrote."""
    opened = open_exported(folder, checkpoint)
    if base is not None:
        raise InputError("--base is for adapters, and this recommender was exported", where=str(folder))
    return RecommenderFiles(
        opened.manifest.name,
        opened.catalogue,
        opened.manifest.sizes,
        opened.titles,
        opened.checkpoint(),
        opened.blend(),
        opened.embeddings,
        opened.trained_on,
    )


def read_lookup(space: Workspace) -> ItemLookup:
    """Read the catalogue of a workspace, or of an exported folder, alone, without a model.

    Raises:
        InputError: When there is none.
    """
    exported = exported_folder(space.root, None)
    if exported is not None:
        opened = open_exported(exported)
        return ItemLookup(opened.catalogue, opened.titles, opened.embeddings)
    space.require("semantic_ids", "gti build-ids")
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    embeddings = space.path(EMBEDDINGS) if space.path(EMBEDDINGS).is_file() else None
    return ItemLookup(catalogue, read_titles(space.path("items.parquet")), embeddings)


def read_titles(path: Path) -> ItemTexts:
    """Title of each item by its id (its whole text where the catalogue has no titles)."""
    table = tables.read(path, ["item_id"])
    column = "title" if "title" in table.column_names else "text"
    return ItemTexts(unique_names(table, "item_id", path), text_names(table, column, path))
