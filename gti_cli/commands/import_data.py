"""`gti import`: published data sets to the tables that the other commands read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import CommonOptions, expand_options
from gti_cli.commands.outcome import print_outcome
from gti_cli.importing.options import ImportOptions

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _import_data(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Files, folders, hf:// or other addresses of one data set, plain or compressed.",
            show_default=False,
        ),
    ],
    options: ImportOptions,
    common: CommonOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.", show_default=False)],
) -> None:
    """Turn a published data set into items.parquet and interactions.parquet."""
    from gti_cli.importing.import_data import import_data as stage

    common.configure_console()
    manifest = stage(sources, output, **vars(options), seed=common.seed, force=common.force)
    _print_summary(manifest)
    print_outcome(manifest, output)


import_data = expand_options(_import_data, common=("seed", "force", "json_output", "quiet", "offline"))


def _print_summary(manifest: Manifest) -> None:
    """Print what was read, what was left out and why, and what was written."""
    counts, metrics = manifest.counts, manifest.metrics
    if "read" in metrics:
        rows: list[list[Any]] = [["interactions read", metrics["read"]["interactions"]]]
        rows += [[f"  not usable: {why}", number] for why, number in counts["not_usable"].items()]
        rows += [[f"  left out: {why}", number] for why, number in counts["left_out"].items()]
        rows.append(["interactions written", metrics["written"]["interactions"]])
        console.table(manifest.details["format"], ["", "rows"], rows)
        console.table(
            "Interactions",
            ["", "as read", "as written"],
            [[label, metrics["read"].get(key), metrics["written"].get(key)] for key, label in _FIGURES],
        )
    console.table("Items", ["", "items"], [[label, counts[key]] for key, label in _ITEMS if key in counts])


_FIGURES = (
    ("users", "users"),
    ("items", "items"),
    ("density", "density"),
    ("history_min", "shortest history"),
    ("history_median", "median history"),
    ("history_mean", "mean history"),
    ("history_max", "longest history"),
    ("repeated_pairs", "repeated pairs of user and item"),
    ("repeated_rows", "repeated rows (user, item and time)"),
    ("equal_times", "rows at the same time as another of the same user"),
)
_ITEMS = (
    ("items", "written"),
    ("items_without_interactions_left_out", "left out: no interaction is left"),
    ("items_without_text", "without any text: the id stands for the title"),
    ("items_named_again", "records of items that were there already"),
    ("titles_with_html", "titles in which HTML was taken out"),
)
