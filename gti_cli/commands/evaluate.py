"""`gti evaluate`: options -> stage -> what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import print_outcome
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _evaluate(
    options: EvaluateOptions,
    common: CommonOptions,
    interactions: Annotated[
        Path | None, typer.Option("--interactions", help="The table that finetune read: users and their next items.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="Instead: table of query, item_id, relevance (0, 1, 2).")
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]...",
            help="Of the workspace, or a folder (default: finetuned). Several, of several seeds: also mean and spread.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Folder below evaluation/ (default: the checkpoint's name, for queries with -search)."
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", help="Another evaluation, or a baseline by name (item-knn): paired differences to it."
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Rank all items for every user, or query, and count hits, beside baselines without a language model."""
    common.configure_console()
    if compare is not None:
        # Before hours of search, not behind them.
        mine = name or _default_name(checkpoints or [], queries)
        _check_other(workspace, compare, options, mine, queries, common.seed)
    given = {"queries": queries, "name": name, **vars(options), **common.run_keywords()}
    if len(checkpoints or []) > 1:
        manifest = _several(checkpoints or [], interactions, workspace, given, common)
    else:
        from gti_cli.evaluation.evaluate import evaluate as stage

        manifest = stage(interactions, workspace, checkpoint=checkpoints[0] if checkpoints else None, **given)
    if manifest is None or processes.rank() > 0:
        return  # it has searched its share; the first process has the figures
    show(manifest)
    if compare is None:
        print_outcome(manifest, workspace / manifest.name)
    else:
        _compare(manifest, compare, workspace, common)


evaluate = expand_options(_evaluate, {EvaluateOptions: "Evaluation"})


def _several(
    checkpoints: list[str], interactions: Path | None, workspace: Path, given: dict[str, Any], common: CommonOptions
) -> Manifest | None:
    """The summary of all; None on any process but the first."""
    from gti_cli.evaluation.several import evaluate_several, summarise

    found, name = evaluate_several(checkpoints, interactions, workspace, **given)
    return summarise(found, workspace, name, **common.run_keywords()) if processes.rank() == 0 else None


def show(manifest: Manifest) -> None:
    """Print the metrics of an evaluation, and what a reader must know about them."""
    counts, shown = manifest.counts, manifest.options["k"]
    who = "queries" if "queries" in counts else "users"
    kinds = ("precision_good", "precision_maybe", "ndcg") if who == "queries" else ("recall", "ndcg")
    columns = [f"{metric}@{cut}" for metric in kinds for cut in shown]
    metrics, runs = manifest.metrics, manifest.metrics.get("runs", {})
    name = f"mean of {len(runs)} runs" if runs else manifest.name.removeprefix("evaluation/")
    methods = {**dict(sorted(runs.items())), name: metrics["metrics"]}
    if runs:
        methods["standard deviation"] = metrics["spread"]
    methods |= dict(sorted(metrics["baselines"].items()))  # as a manifest that is read again has them
    sure = {name: metrics["intervals"], **metrics.get("baseline_intervals", {})}
    left = f" of {counts['evaluated'] + counts['not_drawn']:,}, drawn by seed" if counts.get("not_drawn") else ""
    console.table(
        f"{counts['evaluated']:,} {who}{left}, {counts['catalogue']:,} items "
        f"({counts['semantic_ids']:,} semantic IDs), {manifest.options['split']} part, {counts['beams']} beams",
        ["method", *columns],
        [[method, *_cells(scores, sure.get(method), columns)] for method, scores in methods.items()],
    )
    console.say("Below a figure: the 95 % bootstrap interval of its mean.")
    for baseline, report in metrics["tuning"].items():
        _show_tuning(baseline, report)
    if counts.get("left_out_without_good"):
        console.say(f"{counts['left_out_without_good']:,} queries have no item of relevance 2 and are left out.")
    if counts.get("queries_cut"):
        console.say(f"{counts['queries_cut']:,} queries were cut: longer than a prompt shows.")
    if counts.get("widest_beam", 0) > counts["beams"]:
        console.say(f"Up to {counts['widest_beam']:,} beams, to make up for items that a user has seen.")
    if counts.get("interactions_not_shown"):
        console.say(
            f"{counts['interactions_not_shown']:,} interactions lie further back than the "
            f"{manifest.options['history']} items that a prompt shows."
        )
    if {"users_whose_beam_missed", "semantic_ids_the_beam_missed"} <= counts.keys():
        console.say(
            f"The beam alone would have missed {counts['semantic_ids_the_beam_missed']:,} semantic IDs of "
            f"{counts['users_whose_beam_missed']:,} {who}{', all runs together' if runs else ''}."
        )
    if manifest.options.get("filter_seen") and counts.get("targets_in_history"):
        console.say(
            f"{counts['targets_in_history']:,} of {counts['evaluated']:,} targets are items the user already had: with "
            "--filter-seen no method can reach them."
        )
    if counts.get("lists_shorter_than_k"):
        console.say(f"{counts['lists_shorter_than_k']:,} {who} have fewer than {shown[-1]} items to be recommended.")


def _cells(
    scores: Mapping[str, float], sure: Mapping[str, Sequence[float]] | None, columns: Sequence[str]
) -> list[float | str]:
    """The figures, each with its interval below it where there is one."""
    if sure is None:
        return [scores[column] for column in columns]
    return [f"{scores[column]:.4f}\n{sure[column][0]:.4f}–{sure[column][1]:.4f}" for column in columns]


def _show_tuning(baseline: str, report: Mapping[str, Any]) -> None:
    tried = report["settings_tried"]
    settings = tried if isinstance(tried, int) else len(tried)
    values = ", ".join(f"{name} {value:g}" for name, value in report["chosen"].items())
    console.say(
        f"{baseline}: the best of {settings} settings by NDCG@10 on {report['held_out_targets_used']:,} of "
        f"{report['held_out_targets']:,} held-out items: {values}."
    )


def _compare(manifest: Manifest, other: str, workspace: Path, common: CommonOptions) -> None:
    from gti_cli.evaluation.compare import compare as stage

    model = manifest.name.removeprefix("evaluation/")
    differences = stage(workspace, model, other, seed=common.seed, force=common.force, resume=common.resume)
    _show_differences(differences)
    console.say(str(workspace / manifest.name))
    console.say(str(workspace / differences.name))
    console.result({**manifest.to_json(), "comparison": differences.to_json()})


def _default_name(checkpoints: list[str], queries: Path | None) -> str:
    from gti_cli.evaluation.several import group_name

    if len(checkpoints) > 1:
        return group_name(checkpoints, queries)
    return Path(checkpoints[0] if checkpoints else "finetuned").name + ("-search" if queries else "")


def _check_other(
    workspace: Path, name: str, options: EvaluateOptions, mine: str, queries: Path | None, seed: int
) -> None:
    from gti_cli.evaluation.compare import check_other
    from gti_cli.workspace import Workspace

    options.check()
    measured = {
        "split": options.split,
        "k": options.ks,
        "filter_seen": None if queries else options.filter_seen,
        "sample": options.sample,
        "sample_seed": None if options.sample is None else seed,
    }
    baselines = None if queries else options.baselines
    check_other(Workspace(workspace), name, baselines, mine=mine, options=measured)


def _show_differences(manifest: Manifest) -> None:
    mine, other = manifest.options["compare"]
    console.table(
        f"{mine} minus {other}, {manifest.counts['users']:,} of them: 95 % bootstrap intervals, sign-flip test",
        ["metric", "difference", "from", "to", "p"],
        [
            [metric, *(found[key] for key in ("difference", "low", "high", "p"))]
            for metric, found in manifest.metrics.items()
        ],
    )
