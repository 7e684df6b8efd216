"""Stage `import`: data in the form in which it is published, to ``items.parquet`` and ``interactions.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli import console, tables
from gti_cli.errors import InputError, list_names
from gti_cli.importing.detect import find_format
from gti_cli.importing.filters import apply_filters
from gti_cli.importing.formats.columns import parse_columns, read_columns
from gti_cli.importing.gather import ImportedData, ImportedInteractions, ItemTexts
from gti_cli.importing.options import ImportKeywords, ImportOptions
from gti_cli.importing.report import describe_interactions
from gti_cli.importing.sources import SourceFile, find_files
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.tables.near_misses import near_miss
from gti_cli.workspace import StageRun, Workspace
from gti_cli.workspace.files import replacing
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from typing_extensions import Unpack

PIECE = 1 << 20  # interactions that are written at a time
ITEMS, INTERACTIONS, QUERIES = "items.parquet", "interactions.parquet", "queries.parquet"


def import_data(sources: Sequence[Path | str], output: Path | str, **keywords: Unpack[ImportKeywords]) -> Manifest:
    """Read a data set as it is published and write the tables that the other stages read.

    Ids stay as they are. Nothing is left out unless asked; what cannot be used is counted and said.

    Args:
        sources: Files or folders of one data set, plain or compressed.
        output: Folder for the tables and their manifest.
        **keywords: See `ImportOptions`; also ``seed`` and ``force``.

    Returns:
        The manifest: ``details`` (the format, the unit of the times), ``counts`` (what was read, left out and written)
        and ``metrics`` (figures of the interactions before and after the filters).

    Raises:
        InputError: No source, an unknown format, a damaged file, or nothing left after the filters.
    """
    refuse_unknown(keywords, ImportOptions, RunOptions)
    options, run_options = pick(ImportOptions, keywords), pick(RunOptions, keywords)
    options.check()
    mapping = parse_columns(options.columns) if options.columns else None
    files = find_files(sources)
    form = find_format(files, options.format) if mapping is None else None
    title = form.title if form else "table with --columns"
    # An output is listed once it is known to exist: the queries of a table are known from its columns.
    outputs = [ITEMS, INTERACTIONS] if mapping is None or "user_id" in mapping else [ITEMS]
    outputs += [QUERIES] if mapping is not None and "query" in mapping else []
    with Workspace(output).stage(
        "import",
        "import",
        outputs,
        options={**_recorded(options), "format": form.name if form else None},
        inputs={f"source_{number}": file.path for number, file in enumerate(files)},
        seed=run_options.seed,
        force=run_options.force,
    ) as run:
        if not run.done:
            data = ImportedData()
            with console.progress(f"Reading {title}", None, "records") as advance:
                if form is not None:
                    form.read(files, data, advance)
                elif mapping is not None:
                    read_columns(files, data, advance, mapping)
            run.details["format"] = title
            _write(run, data, files, options, run_options.seed, outputs)
    return run.result()


def _recorded(options: ImportOptions) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name != "format"}


def _write(
    run: StageRun,
    data: ImportedData,
    files: Sequence[SourceFile],
    options: ImportOptions,
    seed: int,
    outputs: Sequence[str],
) -> None:
    for note in data.notes:
        console.note(note)
    run.details["notes"] = data.notes
    interactions = data.log.columns()
    if not len(interactions) and not data.queries and not data.items.rows:
        raise InputError(
            "nothing was read", where=list_names([file.path for file in files], 3), remedy="check the files"
        )
    run.details["time_unit"] = interactions.unit
    run.counts["not_usable"] = dict(sorted(data.log.dropped.items()))
    if INTERACTIONS in outputs:
        run.metrics["read"] = describe_interactions(interactions)
        run.counts["left_out"] = {}
        for step in apply_filters(interactions, options, seed):
            interactions = step.interactions
            run.counts["left_out"][step.reason] = step.dropped
        if not len(interactions):
            raise InputError(
                "no interaction is left after the filters",
                where=list_names([file.path for file in files], 3),
                remedy="filter less: " + "; ".join(f"{n:,} {why}" for why, n in run.counts["left_out"].items()),
            )
        run.metrics["written"] = describe_interactions(interactions)
        _write_interactions(run.path(INTERACTIONS), interactions)
    if QUERIES in outputs:
        tables.write(run.path(QUERIES), data.queries)
        run.counts["query_rows"] = len(data.queries["query"])
    restrict = options.k_core is not None or options.max_users is not None
    _write_items(run, data.items, interactions, restrict)


def _write_interactions(path: Path, interactions: ImportedInteractions) -> None:
    """Write ``user_id``, ``item_id``, ``timestamp`` and, if any is known, ``rating``, piece by piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    users, items = pa.array(interactions.user_ids, pa.string()), pa.array(interactions.item_ids, pa.string())
    fields = [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())]
    if not np.isnan(interactions.rating).all():
        fields.append(("rating", pa.float64()))
    with replacing(path) as temporary, pq.ParquetWriter(temporary, pa.schema(fields), compression="zstd") as writer:
        for start in range(0, len(interactions), PIECE):
            part = slice(start, start + PIECE)
            columns = {
                "user_id": users.take(pa.array(interactions.user[part])),
                "item_id": items.take(pa.array(interactions.item[part])),
                "timestamp": interactions.time[part],
                "rating": pa.array(interactions.rating[part], from_pandas=True),
            }
            writer.write_table(pa.table({name: columns[name] for name, _ in fields}, schema=writer.schema))


def _write_items(run: StageRun, items: ItemTexts, interactions: ImportedInteractions, restrict: bool) -> None:
    """Write the items table.

    An item without any text gets its id for a title, so that it can be given a Semantic ID.

    Args:
        run: The stage.
        items: Texts of items.
        interactions: What is written.
        restrict: Leave out items without interactions: a k-core or a sample of users is a smaller catalogue.
    """
    names = [*items.rows, *(name for name in interactions.item_ids if name not in items.rows)]
    if restrict:
        present = {interactions.item_ids[number] for number in np.unique(interactions.item).tolist()}
        run.counts["items_without_interactions_left_out"] = sum(name not in present for name in names)
        names = [name for name in names if name in present]
    rows = [items.rows.get(name) for name in names]
    titles = items.columns.get("title", [""] * len(items.rows))
    columns: dict[str, list[str]] = {
        "item_id": names,
        "title": ["" if row is None else titles[row] for row in rows],
    }
    for name, values in items.columns.items():
        if name != "title" and any(values):
            columns[name] = ["" if row is None else values[row] for row in rows]
    wordless = [
        number
        for number in range(len(names))
        if not any(columns[name][number] for name in columns if name != "item_id")
    ]
    strangers = [names[number] for number in wordless if names[number] not in items.rows]
    miss = near_miss(strangers, items.rows) if strangers else None
    for number in wordless:
        columns["title"][number] = names[number]
    run.counts.update(
        items=len(names),
        items_without_text=len(wordless),
        items_named_again=items.repeated,
        titles_with_html=items.with_html,
    )
    if wordless:
        warning = f"{len(wordless):,} items have no text in these files: their ids stand for their titles"
        if miss is not None:
            warning += miss.problem
            run.details["notes"].append(warning)
        console.warn(warning)
    tables.write(run.path(ITEMS), columns)
