"""`gti recommend`: items for a history, for a query, or for each row of a table. It writes nothing to the workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.blends.stored_blend import blend_name
from gti_cli.checkpoints.devices import seed_everything
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.recommendation.listing.allowed import allowed_mask
from gti_cli.recommendation.listing.blended import check_blend_options, recommend_by_blend
from gti_cli.recommendation.listing.by_checkpoint import lists_by_checkpoint
from gti_cli.recommendation.listing.candidates import read_candidates
from gti_cli.recommendation.listing.parts_folder import parts_folder
from gti_cli.recommendation.listing.recommendations import ListedItems, Recommendations
from gti_cli.recommendation.requests import RecommendKeywords, RecommendOptions, read_requests
from gti_cli.recommender.files import read_workspace
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace, processes

if TYPE_CHECKING:
    from typing_extensions import Unpack


def recommend(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    base: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    queries: Mapping[str, str] | None = None,
    table: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    columns: str | None = None,
    parts: Path | str | None = None,
    **keywords: Unpack[RecommendKeywords],
) -> Recommendations:
    """Recommend the ``k`` most probable items to each user, or for each query; of candidates, where they are given.

    Exactly one of ``histories``, ``queries`` and ``table`` is given.

    Args:
        workspace: Folder of the workspace.
        checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None: ``finetuned``.
        base: Base model of an adapter. None: the one that it names.
        histories: Item ids of each user, oldest first.
        queries: Words of each query.
        table: Table of interactions, or of queries where it has a column `query`.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        columns: What the columns of the tables are called, see `gti_cli.tables.locate`.
        parts: Folder for finished parts of a ``table``; the caller removes it when the lists are where they belong. An
            interrupted call goes on from what is there, and the processes of a launch by torchrun share the users out
            among themselves. None: this process answers all, in memory.
        **keywords: See `RecommendOptions` and `InteractionOptions`.

    Returns:
        The items by user or query, then by rank. A list is shorter than ``k`` where fewer items may be recommended.
        With ``parts``, on the first process alone: on other ranks nothing.

    Raises:
        InputError: When items are unknown, or there are none to show or to recommend.
        InputError: When an option is out of range, or the checkpoint does not fit the semantic IDs.
    """
    pieces = recommend_in_pieces(
        workspace,
        checkpoint=checkpoint,
        base=base,
        histories=histories,
        queries=queries,
        table=table,
        seed=seed,
        device=device,
        dtype=dtype,
        columns=columns,
        parts=parts,
        **keywords,
    )
    whole = join_pieces(pieces)
    shared = parts is not None and table is not None
    return Recommendations() if shared and processes.rank() > 0 else whole


def join_pieces(pieces: Iterator[ListedItems]) -> Recommendations:
    """Put the pieces that `recommend_in_pieces` yields into one list."""
    whole = Recommendations()
    for piece in pieces:
        whole += piece
        whole.never_trained_on = piece.never_trained_on
    return whole


def recommend_in_pieces(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    base: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    queries: Mapping[str, str] | None = None,
    table: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    columns: str | None = None,
    parts: Path | str | None = None,
    **keywords: Unpack[RecommendKeywords],
) -> Iterator[ListedItems]:
    """Recommend as `recommend` does, some thousand users at a time: the lists of all of them need not be in memory.

    Args:
        workspace: As for `recommend`; so are the others.
        checkpoint: See there.
        base: See there.
        histories: See there.
        queries: See there.
        table: See there.
        seed: See there.
        device: See there.
        dtype: See there.
        columns: See there.
        parts: See there.
        **keywords: See there.

    Yields:
        The items of the next users or queries; at least once.

    Raises:
        InputError: As `recommend`, before anything is yielded.
    """
    refuse_unknown(keywords, RecommendOptions, InteractionOptions)
    options, reading = pick(RecommendOptions, keywords), pick(InteractionOptions, keywords)
    options.check()
    reading.check(reads_table=table is not None)
    check_seed(seed)
    table, exclude, only, listed = tables.locate_all(
        [table, options.exclude, options.only, options.candidates], columns
    )
    space = Workspace(workspace)
    blend = blend_name(space, checkpoint)
    if blend is not None:  # before anything is read
        check_blend_options(blend, options)
    files = read_workspace(space, checkpoint, base)
    row_of = files.catalogue.row_of()
    if files.blend is not None:
        check_blend_options(files.name, options)
    requests = read_requests(histories, queries, table, row_of, reading)
    folder = None
    if parts is not None and table is not None:
        listed_tables = {"input": table, "exclude": exclude, "only": only, "candidates": listed}
        chosen = {**vars(options), "exclude": None, "only": None, "candidates": None, **vars(reading)}
        folder = parts_folder(parts, files, listed_tables, {**chosen, "seed": seed, "device": device, "dtype": dtype})
    if files.blend is not None:
        choice = {"exclude": exclude, "only": only, "folder": folder}
        seed_everything(seed)
        yield from recommend_by_blend(files, requests, options, device=device, dtype=dtype, **choice)  # type: ignore[arg-type]
        return
    candidates = None
    if listed is not None:
        candidates = read_candidates(listed, requests, row_of, names_are_given=table is not None)
    machine, allowed = {"device": device, "dtype": dtype, "seed": seed}, allowed_mask(row_of, exclude, only)
    yield from lists_by_checkpoint(space, files, requests, options, candidates, allowed, machine, folder)
