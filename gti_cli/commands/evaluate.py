"""`gti evaluate`: measure how well checkpoints recommend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gti_cli import console
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    TABLE,
    AdapterOptions,
    CommonOptions,
    WorkspaceOption,
    expand_options,
)
from gti_cli.commands.outcome import print_outcome
from gti_cli.commands.printing.evaluation_tables import print_differences, print_metrics, print_slices
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _evaluate(
    options: EvaluateOptions,
    reading: InteractionOptions,
    adapter: AdapterOptions,
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
    wide: Annotated[
        bool, typer.Option("--wide", help="Print all figures, and those of slices (default: four figures).")
    ] = False,
    plot: Annotated[
        bool,
        typer.Option("--plot", help="Also draw Recall and NDCG over K, and slices (PNG and SVG in evaluation/)."),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Rank all items for each user or query, count the hits, and compare with baselines without a language model."""
    common.configure_console()
    given, base = adapter.merged(checkpoints or [], workspace, common)
    if compare is not None:
        # A comparison that is impossible must fail now, not after hours of search.
        own_name = name or _default_name(given, queries)
        _check_comparison(workspace, compare, options, reading, own_name, given, queries, common.seed)
    keywords = {
        "queries": queries,
        "base": base,
        "name": name,
        **vars(options),
        **vars(reading),
        **common.run_keywords(),
    }
    if len(given) > 1:
        manifest = _evaluate_several(given, interactions, workspace, keywords, common)
    else:
        from gti_cli.evaluation.evaluate import evaluate as stage

        manifest = stage(interactions, workspace, checkpoint=given[0] if given else None, **keywords)
    if manifest is None or processes.rank() > 0:
        return  # only the first process has the results
    print_metrics(manifest, wide=wide)
    if wide:
        print_slices(manifest)
    if plot:
        from gti_cli.evaluation.plot import plot_accuracy

        for path in plot_accuracy(workspace, manifest.name):
            console.say(str(path))
    if compare is None:
        print_outcome(manifest, workspace / manifest.name)
    else:
        _print_comparison(manifest, compare, workspace, common)


evaluate = expand_options(
    _evaluate,
    {EvaluateOptions: "Evaluation", InteractionOptions: "Interactions", AdapterOptions: "Adapters (PEFT)"},
)


def _evaluate_several(
    checkpoints: list[str], interactions: str | None, workspace: Path, keywords: dict[str, Any], common: CommonOptions
) -> Manifest | None:
    """Evaluate several checkpoints and return the manifest of their summary; None on all processes but the first."""
    from gti_cli.evaluation.several_seeds import evaluate_several, summarise

    manifests, name = evaluate_several(checkpoints, interactions, workspace, **keywords)
    return summarise(manifests, workspace, name, **common.run_keywords()) if processes.rank() == 0 else None


def _print_comparison(manifest: Manifest, other: str, workspace: Path, common: CommonOptions) -> None:
    """Compare the evaluation with another one, and print the differences."""
    from gti_cli.evaluation.compare import compare as stage

    model = manifest.name.removeprefix("evaluation/")
    differences = stage(workspace, model, other, seed=common.seed, force=common.force, resume=common.resume)
    print_differences(differences)
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
    checkpoints: list[str],
    queries: str | None,
    seed: int,
) -> None:
    """Refuse a comparison with an evaluation that was measured in another way."""
    from gti_cli.evaluation.cold_start import split_of_all
    from gti_cli.evaluation.compare import check_other
    from gti_cli.workspace import Workspace

    options.check()
    measured = {
        "split": options.split,
        "k": options.ks,
        "filter_seen": None if queries else options.filter_seen,
        "sample": options.sample,
        "sample_seed": None if options.sample is None else seed,
        **(split_of_all(Workspace(workspace), checkpoints or ["finetuned"]) if options.hold_out_items else {}),
        **reading.recorded(),
    }
    baselines = None if queries else options.baselines
    check_other(Workspace(workspace), other, baselines, own_name=own_name, options=measured)
