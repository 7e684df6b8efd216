"""`gti evaluate`: measure how well checkpoints recommend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import DEFAULT_WORKSPACE, TABLE, CommonOptions, WorkspaceOption, expand_options
from gti_cli.commands.outcome import print_outcome
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _evaluate(
    options: EvaluateOptions,
    reading: InteractionOptions,
    common: CommonOptions,
    interactions: Annotated[
        str | None, typer.Option("--interactions", metavar=TABLE, help="The table of interactions that finetune read.")
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries", metavar=TABLE, help="Evaluate search instead: table of query, item_id, relevance (0, 1, 2)."
        ),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHECKPOINT]...",
            help="Checkpoints or blends of the workspace, or folders (default: finetuned). Several, from several "
            "seeds: also their mean and standard deviation.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Folder below evaluation/ (default: the checkpoint's name, with -search for queries)."
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare", help="Another evaluation, or the name of a baseline (item-knn): show paired differences."
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Rank all items for each user or query, count the hits, and compare with baselines without a language model."""
    common.configure_console()
    if compare is not None:
        # A comparison that is impossible must fail now, not after hours of search.
        own_name = name or _default_name(checkpoints or [], queries)
        _check_comparison(workspace, compare, options, reading, own_name, queries, common.seed)
    keywords = {"queries": queries, "name": name, **vars(options), **vars(reading), **common.run_keywords()}
    if len(checkpoints or []) > 1:
        manifest = _evaluate_several(checkpoints or [], interactions, workspace, keywords, common)
    else:
        from gti_cli.evaluation.evaluate import evaluate as stage

        manifest = stage(interactions, workspace, checkpoint=checkpoints[0] if checkpoints else None, **keywords)
    if manifest is None or processes.rank() > 0:
        return  # only the first process has the results
    print_metrics(manifest)
    if compare is None:
        print_outcome(manifest, workspace / manifest.name)
    else:
        _print_comparison(manifest, compare, workspace, common)


evaluate = expand_options(_evaluate, {EvaluateOptions: "Evaluation", InteractionOptions: "Interactions"})


def _evaluate_several(
    checkpoints: list[str], interactions: str | None, workspace: Path, keywords: dict[str, Any], common: CommonOptions
) -> Manifest | None:
    """Evaluate several checkpoints and return the manifest of their summary; None on all processes but the first."""
    from gti_cli.evaluation.several_seeds import evaluate_several, summarise

    manifests, name = evaluate_several(checkpoints, interactions, workspace, **keywords)
    return summarise(manifests, workspace, name, **common.run_keywords()) if processes.rank() == 0 else None


def print_metrics(manifest: Manifest) -> None:
    """Print the metrics of an evaluation, and remarks that a reader needs to interpret them."""
    counts, cutoffs = manifest.counts, manifest.options["k"]
    subjects = "queries" if "queries" in counts else "users"
    kinds = ("precision_good", "precision_maybe", "ndcg") if subjects == "queries" else ("recall", "ndcg")
    columns = [f"{metric}@{cutoff}" for metric in kinds for cutoff in cutoffs]
    metrics, runs = manifest.metrics, manifest.metrics.get("runs", {})
    name = f"mean of {len(runs)} runs" if runs else manifest.name.removeprefix("evaluation/")
    scores = {**dict(sorted(runs.items())), name: metrics["metrics"]}
    if runs:
        scores["standard deviation"] = metrics["spread"]
    # Sorted, because a manifest that is read from its file has sorted keys.
    scores |= dict(sorted(metrics["baselines"].items()))
    intervals = {name: metrics["intervals"], **metrics.get("baseline_intervals", {})}
    total = f" of {counts['evaluated'] + counts['not_drawn']:,}, drawn by seed" if counts.get("not_drawn") else ""
    console.table(
        f"{counts['evaluated']:,} {subjects}{total}, {counts['catalogue']:,} items "
        f"({counts['semantic_ids']:,} semantic IDs), {manifest.options['split']} part, {_searched(counts)}",
        ["method", *columns],
        [[method, *_cells(values, intervals.get(method), columns)] for method, values in scores.items()],
    )
    console.say("Below each figure: the 95 % bootstrap interval of the mean.")
    if metrics.get("without"):
        _print_without(metrics["without"], columns)
    for baseline, report in metrics["tuning"].items():
        print_tuning(baseline, report)
    for line in _remarks(manifest, subjects):
        console.say(line)


def _searched(counts: Mapping[str, Any]) -> str:
    """What was ranked: the beams of a search, or the lists of a blend."""
    return f"{counts['beams']} beams" if "beams" in counts else f"lists of {counts['list_length']}"


def _print_without(without: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Print what each member adds to a blend."""
    rows = []
    for member, report in without.items():
        gains = [report["differences"][column] for column in columns]
        rows.append([member, *(f"{g['difference']:+.4f}\n{g['low']:+.4f} to {g['high']:+.4f}" for g in gains)])
    console.table("What each member adds: the blend minus the blend fitted without it", ["member", *columns], rows)


def _remarks(manifest: Manifest, subjects: str) -> list[str]:
    """Return what a reader needs to know about the evaluated users or queries and the search."""
    counts, options = manifest.counts, manifest.options
    lines = []
    if counts.get("left_out_without_good"):
        lines.append(f"{counts['left_out_without_good']:,} queries have no item of relevance 2 and are left out.")
    if counts.get("queries_cut"):
        lines.append(f"{counts['queries_cut']:,} queries are longer than a prompt can hold and were shortened.")
    if counts.get("widest_beam", 0) > counts.get("beams", 0):
        lines.append(
            f"The search used up to {counts['widest_beam']:,} beams, to replace items that a user has already seen."
        )
    if counts.get("interactions_not_shown"):
        lines.append(
            f"{counts['interactions_not_shown']:,} interactions are older than the {options['history']} items that a "
            "prompt shows."
        )
    if {"users_whose_beam_missed", "semantic_ids_the_beam_missed"} <= counts.keys():
        several = ", all runs together" if manifest.metrics.get("runs") else ""
        lines.append(
            f"The beam alone would have missed {counts['semantic_ids_the_beam_missed']:,} semantic IDs of "
            f"{counts['users_whose_beam_missed']:,} {subjects}{several}."
        )
    if counts.get("targets_in_history"):
        effect = (
            "with --filter-seen no method can recommend them"
            if options.get("filter_seen")
            else "a method that repeats the history finds them"
        )
        lines.append(
            f"{counts['targets_in_history']:,} of {counts['evaluated']:,} targets are items the user already had: "
            f"{effect}."
        )
    if counts.get("lists_shorter_than_k"):
        lines.append(
            f"{counts['lists_shorter_than_k']:,} {subjects} have lists shorter than {options['k'][-1]} items, because "
            "no more items may be recommended to them."
        )
    return lines


def _cells(
    scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]] | None, columns: Sequence[str]
) -> list[float | str]:
    """Return the cells of one method: the figures, each with its interval below it if there is one."""
    if intervals is None:
        return [scores[column] for column in columns]
    return [f"{scores[column]:.4f}\n{intervals[column][0]:.4f}–{intervals[column][1]:.4f}" for column in columns]


def print_tuning(baseline: str, report: Mapping[str, Any]) -> None:
    """Print which settings of a baseline were chosen, and by what."""
    tried = report["settings_tried"]
    settings = tried if isinstance(tried, int) else len(tried)
    values = ", ".join(f"{name} {value:g}" for name, value in report["chosen"].items())
    console.say(
        f"{baseline}: the best of {settings} settings by NDCG@10 on {report['held_out_targets_used']:,} of "
        f"{report['held_out_targets']:,} held-out items: {values}."
    )


def _print_comparison(manifest: Manifest, other: str, workspace: Path, common: CommonOptions) -> None:
    """Compare the evaluation with another one, and print the differences."""
    from gti_cli.evaluation.compare import compare as stage

    model = manifest.name.removeprefix("evaluation/")
    differences = stage(workspace, model, other, seed=common.seed, force=common.force, resume=common.resume)
    _print_differences(differences)
    console.say(str(workspace / manifest.name))
    console.say(str(workspace / differences.name))
    console.result({**manifest.to_json(), "comparison": differences.to_json()})


def _default_name(checkpoints: list[str], queries: str | None) -> str:
    """Return the name of the output if ``--name`` is not given."""
    from gti_cli.evaluation.several_seeds import group_name

    if len(checkpoints) > 1:
        return group_name(checkpoints, queries)
    return Path(checkpoints[0] if checkpoints else "finetuned").name + ("-search" if queries else "")


def _check_comparison(
    workspace: Path,
    other: str,
    options: EvaluateOptions,
    reading: InteractionOptions,
    own_name: str,
    queries: str | None,
    seed: int,
) -> None:
    """Refuse a comparison with an evaluation that was measured in another way."""
    from gti_cli.evaluation.compare import check_other
    from gti_cli.workspace import Workspace

    options.check()
    measured = {
        "split": options.split,
        "k": options.ks,
        "filter_seen": None if queries else options.filter_seen,
        "sample": options.sample,
        "sample_seed": None if options.sample is None else seed,
        **reading.recorded(),
    }
    baselines = None if queries else options.baselines
    check_other(Workspace(workspace), other, baselines, own_name=own_name, options=measured)


def _print_differences(manifest: Manifest) -> None:
    own_name, other = manifest.options["compare"]
    console.table(
        f"{own_name} minus {other}, n = {manifest.counts['users']:,}: 95 % bootstrap intervals, sign-flip test",
        ["metric", "difference", "from", "to", "p"],
        [
            [metric, *(test[key] for key in ("difference", "low", "high", "p"))]
            for metric, test in manifest.metrics.items()
        ],
    )
