"""`gti evaluate`: options of the stage `gti_cli.evaluation.evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.common import (
    DEFAULT_WORKSPACE,
    DeviceOption,
    DtypeOption,
    ForceOption,
    JsonOption,
    NoResumeOption,
    QuietOption,
    SeedOption,
    WorkspaceOption,
    finish,
    numbers,
)

if TYPE_CHECKING:
    from gti_cli.manifest import Manifest


def evaluate(
    interactions: Annotated[Path, typer.Option("--interactions", help="The table that finetune read.")],
    checkpoint: Annotated[
        str | None, typer.Argument(help="Checkpoint: of the workspace, or a folder (default: finetuned).")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="test or valid.")] = "test",
    k: Annotated[str, typer.Option("--k", help="Cut-offs of the metrics.")] = "5,10,20,50,100",
    search: Annotated[
        str, typer.Option("--search", help="beam, or exact: provably the best, and what the beam misses.")
    ] = "beam",
    beams: Annotated[
        int | None, typer.Option("--beams", help="Hypotheses kept; at least the largest cut-off (default: as needed).")
    ] = None,
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen", help="Do not recommend items of the user's own history.")
    ] = False,
    history: Annotated[
        int | None, typer.Option("--history", help="Most items shown (default: as in fine-tuning).")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Users in a batch; for speed only.")] = 32,
    name: Annotated[
        str | None, typer.Option("--name", help="Folder below evaluation/ (default: the checkpoint's name).")
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Another evaluation of the workspace: paired differences to it.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    no_resume: NoResumeOption = False,
) -> None:
    """Rank all items for every user and count hits, beside baselines without a language model."""
    console.configure(quiet=quiet, json_output=json_output)
    cut_offs = numbers(k, "--k")
    from gti_cli.evaluation.evaluate import evaluate as stage

    if compare is not None:
        _find_other(workspace, compare)  # before hours of search, not behind them
    manifest = stage(
        interactions,
        workspace,
        checkpoint=checkpoint,
        split=split,
        k=cut_offs,
        search=search,
        beams=beams,
        batch_size=batch_size,
        history=history,
        filter_seen=filter_seen,
        name=name,
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    shown = manifest.options["k"]
    columns = [f"{metric}@{cut}" for metric in ("recall", "ndcg") for cut in shown]
    model = manifest.name.removeprefix("evaluation/")
    methods = {model: manifest.metrics["metrics"], **manifest.metrics["baselines"]}
    counts = manifest.counts
    console.table(
        f"{counts['evaluated']:,} users, {counts['catalogue']:,} items ({counts['semantic_ids']:,} semantic IDs), "
        f"{split} items, {counts['beams']} beams",
        ["method", *columns],
        [[method, *(scores[column] for column in columns)] for method, scores in methods.items()],
    )
    if counts["interactions_not_shown"]:
        console.say(
            f"{counts['interactions_not_shown']:,} interactions lie further back than the "
            f"{manifest.options['history']} items that a prompt shows."
        )
    if "users_whose_beam_missed" in counts:
        console.say(
            f"The beam alone would have missed {counts['semantic_ids_the_beam_missed']:,} semantic IDs of "
            f"{counts['users_whose_beam_missed']:,} users."
        )
    if counts["lists_shorter_than_k"]:
        console.say(f"{counts['lists_shorter_than_k']:,} users have fewer than {shown[-1]} items to be recommended.")
    if compare is None:
        finish(manifest, workspace / manifest.name)
        return
    from gti_cli.evaluation.compare import compare as compare_stage

    differences = compare_stage(workspace, model, compare, seed=seed, force=force, resume=not no_resume)
    _show_differences(differences)
    console.say(str(workspace / manifest.name))
    console.say(str(workspace / differences.name))
    console.result({**manifest.to_json(), "comparison": differences.to_json()})


def _find_other(workspace: Path, name: str) -> None:
    from gti_cli.evaluation.compare import find_other
    from gti_cli.workspace import Workspace

    find_other(Workspace(workspace), name)


def _show_differences(manifest: Manifest) -> None:
    mine, other = manifest.options["compare"]
    console.table(
        f"{mine} minus {other}, {manifest.counts['users']:,} users: 95 % bootstrap intervals, sign-flip test",
        ["metric", "difference", "from", "to", "p"],
        [
            [metric, *(found[key] for key in ("difference", "low", "high", "p"))]
            for metric, found in manifest.metrics.items()
        ],
    )
