"""`gti build-ids`: give each item a semantic ID."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console
from gti_cli.commands.options import (
    DEFAULT_WORKSPACE,
    CommonOptions,
    WorkspaceOption,
    expand_options,
    with_revision,
)
from gti_cli.commands.outcome import print_outcome
from gti_cli.errors import InputError
from gti_cli.semantic_ids.options import EncoderOptions, IdsOptions, KMeansOptions, RQVAEOptions
from gti_cli.workspace import processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def _build_ids(
    items: Annotated[
        str,
        typer.Argument(
            metavar="ITEMS",
            help="Items table (file, folder, hf://NAME, URL): item_id, title, other texts, optionally embedding.",
            show_default=False,
        ),
    ],
    options: IdsOptions,
    text_model: EncoderOptions,
    kmeans: KMeansOptions,
    rqvae: RQVAEOptions,
    common: CommonOptions,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of an encoder on the hub (default: main).")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the quality figures (semantic_ids.png and .svg in the workspace).")
    ] = False,
) -> None:
    """Give each item a semantic ID: encode its text, quantize it level by level, resolve collisions, report quality."""
    from gti_cli.semantic_ids.build import build_ids as stage

    common.configure_console()
    if revision is not None:
        if options.encoder in (None, "lsa", "column"):
            raise InputError("--revision is for an --encoder on the hub", remedy="leave it out, or name the encoder")
        options = replace(options, encoder=with_revision(options.encoder, revision, workspace))
    manifest = stage(
        items, workspace, kmeans=kmeans, rqvae=rqvae, text_model=text_model, **vars(options), **common.run_keywords()
    )
    if processes.rank() > 0:
        return  # only the first process has the results
    print_quality(manifest)
    if plot:
        from gti_cli.semantic_ids.quality.plot import plot_quality

        for path in plot_quality(workspace):
            console.say(str(path))
    print_outcome(manifest, workspace / "semantic_ids.parquet")


build_ids = expand_options(
    _build_ids,
    {EncoderOptions: "Text encoder that is a model", KMeansOptions: "Residual k-means", RQVAEOptions: "RQ-VAE"},
)


def print_quality(manifest: Manifest) -> None:
    """Print how well the codes are used, the collisions, and what items with a shared prefix have in common."""
    counts, metrics = manifest.counts, manifest.metrics
    console.table(
        f"{counts['items']:,} items, {manifest.details['quantizer']} on {manifest.details['encoder']} embeddings",
        ["level", "codes", "used", "use", "perplexity", "entropy (bits)", "explained variance"],
        [
            [
                entry["level"],
                entry["codes"],
                entry["used"],
                entry["use"],
                entry["perplexity"],
                entry["entropy"],
                entry.get("explained_variance"),
            ]
            for entry in metrics["levels"]
        ],
    )
    names = ["distinct", "rate", "items", "largest"]
    before, after = metrics["collisions_before"], metrics["collisions_after"]
    if "new_items" in counts:
        console.say(f"{counts['new_items']:,} of these items are new; the IDs of the others are unchanged.")
    console.table(
        f"Collisions ({manifest.details['collisions']}: {counts['moved']:,} items moved, "
        f"{counts['identical_embeddings']:,} with the same embedding as another item)",
        ["", "distinct tuples", "collision rate", "items in collisions", "largest group"],
        [[stage, *[values[name] for name in names]] for stage, values in (("before", before), ("after", after))],
    )
    rows = [
        [f"neighbours kept (of {metrics['neighbourhood']['neighbours']})", e["depth"], e["recall"], e["by_chance"]]
        for e in metrics["neighbourhood"]["prefixes"]
    ]
    for column, entries in metrics.get("purity", {}).items():
        rows += [[f"purity of {column}", e["depth"], e["purity"], e["shuffled"]] for e in entries]
    console.table("Items with a shared prefix", ["", "codes", "share", "by chance"], rows)
    console.table(
        "The fullest first codes",
        ["prefix", "items", "examples"],
        [[e["prefix"], e["items"], " | ".join(e["titles"])] for e in metrics["fullest_prefixes"]],
    )
