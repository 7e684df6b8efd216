"""`gti blend`: mix checkpoints and baselines into one recommender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.blending.options import BlendOptions
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    TABLE,
    CommonOptions,
    WorkspaceOption,
    expand_options,
    parse_names,
)
from gti_cli.commands.outcome import print_outcome
from gti_cli.commands.printing.evaluation_tables import print_tuning
from gti_cli.tables.equal_times import InteractionOptions

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _blend(
    options: BlendOptions,
    reading: InteractionOptions,
    common: CommonOptions,
    of: Annotated[
        str,
        typer.Option(
            "--of", help="What to mix: checkpoints (names or folders), popularity, item-knn, content-knn, sasrec."
        ),
    ],
    interactions: Annotated[
        str, typer.Option("--interactions", metavar=TABLE, help="The table of interactions that finetune read.")
    ],
    name: Annotated[str, typer.Option("--name", help="Folder for the result in the workspace.")] = "blend",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Mix checkpoints and baselines into one recommender, with weights chosen on validation items."""
    from gti_cli.blending.blend import blend as stage

    common.configure_console()
    manifest = stage(
        parse_names(of), interactions, workspace, name=name, **vars(options), **vars(reading), **common.run_keywords()
    )
    print_blend(manifest)
    print_outcome(manifest, workspace / name)


blend = expand_options(_blend, {BlendOptions: "The blend", InteractionOptions: "Interactions"})


def print_blend(manifest: Manifest) -> None:
    """Print form, weights, and what each member adds."""
    metrics, counts = manifest.metrics, manifest.counts
    choice, of = metrics["choice"], manifest.options["of"]
    rows = []
    for member in of:
        report = metrics["members"][member]
        loss = report["loss_without"]
        rows.append(
            [
                member,
                report["ndcg@10"],
                report["weight"],
                report["ndcg@10_without"],
                f"{loss['difference']:+.4f}\n{loss['low']:+.4f} to {loss['high']:+.4f}",
            ]
        )
    low, high = metrics["ndcg@10_interval"]
    console.table(
        f"{choice['form']} of {len(of)}: NDCG@10 {metrics['ndcg@10']:.4f} ({low:.4f}–{high:.4f}) on "
        f"{counts['targets_used']:,} of {counts['valid_targets']:,} validation targets",
        ["member", "NDCG@10 alone", "weight", "blend without it", "the blend loses without it"],
        rows,
    )
    forms = ", ".join(f"{form} {value:.4f}" for form, value in choice["forms"].items())
    console.say(
        f"By form: {forms} (cross-fitted: weights found on half of the users, measured on the other half; "
        f"{choice['settings_tried']} settings tried). Taken is the first that is within the sampling error of the best."
    )
    if choice["form"] in ("averaged product", "contextual product"):
        console.say(
            "Its weights depend on the length of the history and on the item's interactions: shown are their means "
            "over all candidates."
        )
    if not choice["search_complete"]:
        console.note("a search for weights ended at its budget: other weights might be better")
    for baseline, report in metrics["tuning"].items():
        print_tuning(baseline, report)
    console.say(
        f"{counts['targets_among_candidates']:,} of {counts['targets_used']:,} targets are among the candidates, "
        f"{counts['candidates'] / counts['targets_used']:.0f} for a user."
    )
