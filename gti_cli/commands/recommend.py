"""`gti recommend`: recommend items, as a table, JSON or a Parquet file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    TABLE,
    AdapterOptions,
    CommonOptions,
    WorkspaceOption,
    expand_options,
    parse_names,
)
from gti_cli.commands.printing.recommendations import print_lists, write_lists
from gti_cli.errors import InputError
from gti_cli.recommendation.requests import RecommendOptions
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender

_SINGLE = "1"  # the id of the user of --history, and of the query of --query
_SIMILAR_COLUMNS = ("rank", "item_id", "title", "similarity", "shared_levels")
_STDIN = "-"  # of --input


CheckpointArgument = Annotated[
    str | None, typer.Argument(help="Checkpoint or blend of the workspace, or a folder (default: finetuned).")
]
HistoryOption = Annotated[
    list[str] | None, typer.Option("--history", help="Item ids, oldest first: A,B,C or one option for each.")
]
QueryOption = Annotated[str | None, typer.Option("--query", help="Text of a search query.")]
InputOption = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar=TABLE,
        help="Table of user_id, item_id, timestamp, or of query: recommend for every user or query in it. "
        "-: lines of JSON on stdin, answered on stdout as they come.",
    ),
]
SimilarToOption = Annotated[
    str | None,
    typer.Option("--similar-to", metavar="ITEM", help="List the items most like this one; loads no checkpoint."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the recommendations to this .parquet file instead of printing them."),
]


def _recommend(
    options: RecommendOptions,
    reading: InteractionOptions,
    adapter: AdapterOptions,
    checkpoint: CheckpointArgument = None,
    history: HistoryOption = None,
    query: QueryOption = None,
    table: InputOption = None,
    similar_to: SimilarToOption = None,
    output: OutputOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Recommend items for a history, a query, or everyone in a table, with titles and scores."""
    common.configure_console()
    if output is not None:
        _check_output(output)
    from gti_cli import tables
    from gti_cli.recommendation.recommend import join_pieces, recommend_in_pieces

    if similar_to is not None:
        given = {"a checkpoint": checkpoint, "--history": history, "--query": query, "--input": table, "-o": output}
        _refuse(given, "--similar-to")
        _print_similar(workspace, similar_to, options.k)
        return

    # Located here, since the columns of the table decide on those of the output.
    named = [None if table == _STDIN else table, options.exclude, options.only, options.candidates]
    located, exclude, only, candidates = tables.locate_all(named, common.columns)
    table = table if table == _STDIN else located
    options = replace(options, exclude=exclude, only=only, candidates=candidates)
    chosen, base = adapter.merged([checkpoint] if checkpoint is not None else [], workspace, common)
    if table == _STDIN:
        _refuse({"--history": history, "--query": query, "-o": output, "--candidates": candidates}, "--input -")
        _check_stdin(options, reading)
        _answer_stdin(_load(workspace, chosen[0] if chosen else None, base, common), options)
        return
    parts = _parts_folder(table, output)
    pieces = recommend_in_pieces(
        workspace,
        checkpoint=chosen[0] if chosen else None,
        base=base,
        histories={_SINGLE: [item for part in history for item in parse_names(part)]} if history is not None else None,
        queries={_SINGLE: query} if query is not None else None,
        table=table,
        seed=common.seed,
        device=common.device,
        dtype=common.dtype,
        parts=parts,
        **vars(options),
        **vars(reading),
    )
    if processes.rank() > 0:
        for _ in pieces:  # This process does its share of each piece; the first one has the lists.
            pass
        return
    id_column = "query_id" if query is not None or (table is not None and _has_queries(table)) else "user_id"
    if output is None:
        title = f"For {query!r}" if query is not None else f"Next, after {', '.join(history or [])}"
        print_lists(join_pieces(pieces), id_column, title if table is None else None)
        return
    write_lists(pieces, id_column, output)
    if parts is not None:
        shutil.rmtree(parts, ignore_errors=True)


recommend = expand_options(
    _recommend,
    {RecommendOptions: "The lists", InteractionOptions: "Interactions", AdapterOptions: "Adapters (PEFT)"},
    common=("seed", "device", "dtype", "columns", "json_output", "quiet", "offline"),
)


def _check_stdin(options: RecommendOptions, reading: InteractionOptions) -> None:
    """Refuse ``--input -`` where there is no stdin to read, or where options have no meaning with it."""
    if sys.stdin is None:
        raise InputError("--input - reads stdin, which is closed", remedy="pipe lines of JSON into it")
    reading.check(reads_table=False)
    options.check()
    if processes.world() > 1:
        raise InputError("--input - answers in one process", remedy="run it without torchrun, or give a table")


def _refuse(given: Mapping[str, object], beside: str) -> None:
    """Refuse options that have no meaning beside another one."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} has no meaning with {beside}", remedy="leave one of the two out")


def _print_similar(workspace: Path, item_id: str, k: int) -> None:
    """Print the items that are most like one of them, as ``--similar-to`` asks."""
    from gti_cli.recommender.files import read_lookup
    from gti_cli.workspace import Workspace

    lookup = read_lookup(Workspace(workspace))
    items = [vars(item) for item in lookup.similar(item_id, k)]
    by = lookup.similarity_source
    shown = [name for name in _SIMILAR_COLUMNS if name != "similarity" or by == "embeddings"]
    title = f"Like {item_id} {lookup.tokens(item_id)}, by {by}"
    console.table(title, shown, [[item[name] for name in shown] for item in items])
    console.result({"item_id": item_id, "tokens": lookup.tokens(item_id), "by": by, "similar": items})


def _load(workspace: Path, checkpoint: str | None, base: str | None, common: CommonOptions) -> Recommender:
    from gti_cli.recommender.recommender import Recommender

    machine = {"seed": common.seed, "device": common.device, "dtype": common.dtype}
    return Recommender.load(workspace, checkpoint, base=base, **machine)  # type: ignore[arg-type]


def _answer_stdin(recommender: Recommender, options: RecommendOptions) -> None:
    """Answer lines of JSON as they come; exit code 2 after the last where some could not be answered."""
    from gti_cli.recommendation.listing.allowed import line_defaults
    from gti_cli.recommender.json_lines import answer_lines, waiting_lines

    defaults = line_defaults(options, recommender.row_of)
    console.note(f"{recommender.name} is loaded: reading lines of JSON from stdin")
    for asked, is_trained in vars(recommender.trained_on).items():
        if is_trained is False and recommender.files.blend is None:  # a blend refuses queries
            console.note(f"it never saw {asked} in training: its answers to them may be as good as chance")
    answered = wrong = 0
    try:
        for lines in waiting_lines(sys.stdin.buffer, options.batch_size):
            for answer in answer_lines(recommender, lines, defaults):
                print(json.dumps(answer, ensure_ascii=False, allow_nan=False), flush=True)
                answered, wrong = answered + 1, wrong + ("error" in answer)
    except BrokenPipeError:  # whoever read the answers has had enough
        _quiet_stdout()
    console.note(f"{answered:,} lines answered")
    if wrong:
        console.warn(f"{wrong:,} of {answered:,} lines could not be answered: 'error' says why")
        raise typer.Exit(2)


def _quiet_stdout() -> None:
    """Send what is still to be printed nowhere, so that Python does not complain about a closed pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_output(output: Path) -> None:
    """Refuse an output file that cannot be written, before the model is loaded."""
    if output.suffix != ".parquet" or not output.parent.is_dir():
        raise InputError(
            "cannot write the recommendations there",
            where=str(output),
            remedy="name a .parquet file in a folder that exists",
        )
    if output.is_dir() or not os.access(output if output.exists() else output.parent, os.W_OK):
        raise InputError(
            "cannot write the recommendations there: a folder, or no permission",
            where=str(output),
            remedy="name another file",
        )


def _parts_folder(table: str | None, output: Path | None) -> Path | None:
    """Where finished parts of a table's lists lie until the output file is written; None: in memory.

    Raises:
        InputError: When several processes have no output file beside which they can share their parts.
    """
    if table is None:
        return None
    if output is not None:
        return output.with_name(f".{output.name}.parts")
    if processes.world() > 1:
        raise InputError(
            "several processes share the users out through files beside the output file, and there is none",
            remedy="give -o FILE.parquet, in a folder that all of them share",
        )
    return None


def _has_queries(table: str) -> bool:
    from gti_cli import tables

    return "query" in tables.read(table, []).column_names
