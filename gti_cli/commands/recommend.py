"""`gti recommend`: options of `gti_cli.recommendation.recommend`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gti_cli import console
from gti_cli.commands.common import (
    DEFAULT_WORKSPACE,
    DeviceOption,
    DtypeOption,
    JsonOption,
    QuietOption,
    SeedOption,
    WorkspaceOption,
    names,
)
from gti_cli.errors import InputError

_ONE = "history"  # the user of --history


def recommend(
    checkpoint: Annotated[
        str | None, typer.Argument(help="Checkpoint: of the workspace, or a folder (default: finetuned).")
    ] = None,
    history: Annotated[
        list[str] | None, typer.Option("--history", help="Item ids, oldest first: A,B,C or the option again and again.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--input", help="Table of user_id, item_id, timestamp: every user is answered.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items for each user.")] = 10,
    beams: Annotated[int | None, typer.Option("--beams", help="Hypotheses kept (default: as many as needed).")] = None,
    exclude: Annotated[
        Path | None, typer.Option("--exclude", help="Table of item_id: never recommended (out of stock, …).")
    ] = None,
    only: Annotated[Path | None, typer.Option("--only", help="Table of item_id: nothing else is recommended.")] = None,
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen", help="Do not recommend items of the user's own history.")
    ] = False,
    max_history: Annotated[
        int | None, typer.Option("--max-history", help="Most items shown (default: as in fine-tuning).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the lists to a .parquet file instead.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Users in a batch; for speed only.")] = 32,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Recommend the next items for a history, or for every user of a table, with titles and scores."""
    console.configure(quiet=quiet, json_output=json_output)
    if output is not None and (output.suffix != ".parquet" or not output.parent.is_dir()):
        raise InputError(
            "cannot write the lists there", where=str(output), remedy="name a .parquet file in a folder that exists"
        )
    from gti_cli.recommendation.recommend import recommend as stage

    found = stage(
        workspace,
        checkpoint=checkpoint,
        histories={_ONE: [item for part in history for item in names(part)]} if history is not None else None,
        table=table,
        k=k,
        beams=beams,
        exclude=exclude,
        only=only,
        filter_seen=filter_seen,
        history=max_history,
        batch_size=batch_size,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    lines = [asdict(line) for line in found]
    users = len({line["user_id"] for line in lines})
    if output is not None:
        from gti_cli import tables

        tables.write(output, {name: [line[name] for line in lines] for name in _COLUMNS})
        console.say(f"{output}  ({len(lines):,} lines, {users:,} users)")
        console.result({"output": str(output), "lines": len(lines), "users": users})
        return
    columns = _COLUMNS if table is not None else _COLUMNS[1:]
    console.table(
        f"{len(lines):,} items for {users:,} users" if table is not None else f"Next, after {', '.join(history or [])}",
        columns,
        [[line[name] for name in columns] for line in lines],
    )
    console.result({"recommendations": lines})


_COLUMNS = ("user_id", "rank", "item_id", "title", "score")
