"""`gti recommend`: options -> stage -> the lists, as a table, JSON or Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options, parse_names
from gti_cli.errors import InputError
from gti_cli.recommendation.requests import RecommendOptions

if TYPE_CHECKING:
    from gti_cli.recommendation.recommend import Recommendation

_ONE = "1"  # the user of --history, the query of --query
_COLUMNS = ("rank", "item_id", "title", "score")


def _recommend(
    options: RecommendOptions,
    checkpoint: Annotated[
        str | None, typer.Argument(help="Checkpoint: of the workspace, or a folder (default: finetuned).")
    ] = None,
    history: Annotated[
        list[str] | None, typer.Option("--history", help="Item ids, oldest first: A,B,C or the option again and again.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", help="Words to find items for.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Table of user_id, item_id, timestamp, or of query: every user or query is answered."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the lists to a .parquet file instead.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Recommend items for a history, a query, or everyone in a table, with titles and scores."""
    common.configure_console()
    if output is not None and (output.suffix != ".parquet" or not output.parent.is_dir()):
        raise InputError(
            "cannot write the lists there", where=str(output), remedy="name a .parquet file in a folder that exists"
        )
    if output is not None and (output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK)):
        raise InputError(
            "cannot write the lists there: a folder, or no permission", where=str(output), remedy="name another file"
        )
    from gti_cli.recommendation.recommend import recommend as stage

    found = stage(
        workspace,
        checkpoint=checkpoint,
        histories={_ONE: [item for part in history for item in parse_names(part)]} if history is not None else None,
        queries={_ONE: query} if query is not None else None,
        table=table,
        seed=common.seed,
        device=common.device,
        dtype=common.dtype,
        **vars(options),
    )
    owner = "query_id" if query is not None or (table is not None and _has_queries(table)) else "user_id"
    if output is not None:
        _write(found, owner, output)
    else:
        title = f"For {query!r}" if query is not None else f"Next, after {', '.join(history or [])}"
        _show(found, owner, title if table is None else None)


recommend = expand_options(
    _recommend,
    {RecommendOptions: "The lists"},
    common=("seed", "device", "dtype", "json_output", "quiet"),
)


def _has_queries(table: Path) -> bool:
    from gti_cli import tables

    return "query" in tables.read(table, []).column_names


def _line(line: Recommendation, owner: str) -> dict[str, Any]:
    return {owner: line.user_id, **{name: getattr(line, name) for name in _COLUMNS}}


def _write(found: list[Recommendation], owner: str, output: Path) -> None:
    from gti_cli import tables

    lines = [_line(line, owner) for line in found]
    tables.write(output, {name: [line[name] for line in lines] for name in (owner, *_COLUMNS)})
    kind, count = "queries" if owner == "query_id" else "users", len({line.user_id for line in found})
    console.say(f"{output}  ({len(lines):,} lines, {count:,} {kind})")
    console.result({"output": str(output), "lines": len(lines), kind: count})


def _show(found: list[Recommendation], owner: str, title: str | None) -> None:
    """A table for one answer, under ``title``, or for all (None)."""
    kind, count = "queries" if owner == "query_id" else "users", len({line.user_id for line in found})
    columns = _COLUMNS if title is not None else (owner, *_COLUMNS)
    lines = [_line(line, owner) for line in found]
    console.table(
        title or f"{len(lines):,} items for {count:,} {kind}",
        columns,
        [[line[name] for name in columns] for line in lines],
    )
    console.result({"recommendations": lines})
