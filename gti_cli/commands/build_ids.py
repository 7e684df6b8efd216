"""`gti build-ids`: items to semantic IDs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gti_cli import console, processes
from gti_cli.commands import common
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
)

if TYPE_CHECKING:
    from gti_cli.manifest import Manifest

_TEXT, _KMEANS, _RQVAE = "Text encoder that is a model", "Residual k-means", "RQ-VAE"


def build_ids(
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="Items table (.parquet, .csv, .jsonl): item_id, title, other text columns, optionally embedding.",
            show_default=False,
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="lsa (TF-IDF and SVD, no download), column (the embedding column), or a sentence-transformers model "
            "by name or folder.  [default: column where there is one, else lsa]",
            show_default=False,
        ),
    ] = None,
    text_columns: Annotated[
        str | None,
        typer.Option(
            "--text-columns",
            help="Columns that make an item's text.  [default: title,description,brand,categories, those there are]",
            show_default=False,
        ),
    ] = None,
    quantizer: Annotated[
        str | None,
        typer.Option("--quantizer", help="rq-kmeans or rq-vae.  [default: rq-kmeans]", show_default=False),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option("--levels", help="Codes in a semantic ID.  [default: 4, or as --codes lists]", show_default=False),
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(
            "--codes",
            help="Codes of each level: one number, or a list 1024,512,256.  [default: 256]",
            show_default=False,
        ),
    ] = None,
    collisions: Annotated[
        str | None,
        typer.Option(
            "--collisions",
            help="Items with the same codes: next-best (nearest free code), sinkhorn (balanced last level), suffix "
            "(one more level), allow.  [default: next-best; allow with --import-index]",
            show_default=False,
        ),
    ] = None,
    import_index: Annotated[
        Path | None,
        typer.Option(
            "--import-index",
            help='Take the codes from LC-Rec\'s JSON {"item": ["<a_12>", ...]} instead of quantising; each code\'s '
            "vector is then the mean of what its items leave over.",
            show_default=False,
        ),
    ] = None,
    token_style: Annotated[str, typer.Option("--token-style", help="lc-rec: <a_12><b_3>...")] = "lc-rec",
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse",
            help="ITEMS are new: add them to the workspace's with its encoder and codebooks. No earlier ID changes, "
            "and what was made from them stays valid.",
        ),
    ] = False,
    pooling: Annotated[
        str, typer.Option(help="auto (the model's own), mean, cls or last token.", rich_help_panel=_TEXT)
    ] = "auto",
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Put before each text.  [default: the model's own]", show_default=False, rich_help_panel=_TEXT
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="Cut texts there.  [default: what the model reads]", show_default=False, rich_help_panel=_TEXT
        ),
    ] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens in a batch, padding included.", rich_help_panel=_TEXT)] = 1
    << 14,
    iterations: Annotated[
        int, typer.Option(help="Of Lloyd's algorithm in each level, behind its warm start.", rich_help_panel=_KMEANS)
    ] = 10,
    restarts: Annotated[int, typer.Option(help="Runs of each level; the best is kept.", rich_help_panel=_KMEANS)] = 1,
    sample: Annotated[
        int, typer.Option(help="Train on at most so many items (all are encoded).", rich_help_panel=_KMEANS)
    ] = 1 << 18,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Train for evenly used codes (slower).", rich_help_panel=_KMEANS)
    ] = False,
    beam: Annotated[
        int,
        typer.Option(help="Partial codes an item keeps from level to level; 1 is greedy.", rich_help_panel=_KMEANS),
    ] = 1,
    hidden: Annotated[
        str, typer.Option(help="Widths of the encoder's layers; the decoder mirrors them.", rich_help_panel=_RQVAE)
    ] = "1024,512,256",
    latent: Annotated[int, typer.Option(help="Width of the latent and of the codes.", rich_help_panel=_RQVAE)] = 32,
    dropout: Annotated[float, typer.Option(help="After each hidden layer.", rich_help_panel=_RQVAE)] = 0.1,
    commitment: Annotated[float, typer.Option(help="Weight of the commitment loss.", rich_help_panel=_RQVAE)] = 0.25,
    epochs: Annotated[
        int, typer.Option(help="At most; it stops when nothing improves.", rich_help_panel=_RQVAE)
    ] = 1000,
    batch_size: Annotated[
        int, typer.Option(help="Items a step, at most (fewer for small catalogues).", rich_help_panel=_RQVAE)
    ] = 1024,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.", rich_help_panel=_RQVAE)] = 1e-3,
    codebook_rate: Annotated[
        float, typer.Option(help="How many times that rate for the codebooks.", rich_help_panel=_RQVAE)
    ] = 10.0,
    warm_up: Annotated[
        int, typer.Option(help="Epochs as a plain autoencoder before the k-means start.", rich_help_panel=_RQVAE)
    ] = 20,
    start: Annotated[
        str,
        typer.Option(
            help="Of the codebooks: kmeans (of the latents), rq-kmeans (of the embeddings) or random.",
            rich_help_panel=_RQVAE,
        ),
    ] = "kmeans",
    diversity: Annotated[
        float, typer.Option(help="Weight of LETTER's diversity loss; 0 leaves it out.", rich_help_panel=_RQVAE)
    ] = 1e-4,
    sinkhorn: Annotated[
        float,
        typer.Option(
            help="Epsilon of the balanced assignment in the last level while training; 0: nearest code.",
            rich_help_panel=_RQVAE,
        ),
    ] = 0.003,
    patience: Annotated[
        int, typer.Option(help="Checks in a row without improvement after which it stops.", rich_help_panel=_RQVAE)
    ] = 5,
    check_every: Annotated[int, typer.Option(help="Epochs between checks.", rich_help_panel=_RQVAE)] = 10,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the quality (semantic_ids.png and .svg in the workspace).")
    ] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    json_output: JsonOption = False,
    quiet: QuietOption = False,
    force: ForceOption = False,
    no_resume: NoResumeOption = False,
) -> None:
    """Give each item a semantic ID: encode its text, quantise it level by level, resolve collisions, report quality."""
    from gti_cli.semantic_ids.build import build_ids as run
    from gti_cli.semantic_ids.options import EncoderOptions, KMeansOptions, RQVAEOptions

    console.configure(quiet=quiet, json_output=json_output)
    manifest = run(
        items,
        workspace,
        encoder=encoder,
        text_columns=common.names(text_columns) if text_columns is not None else None,
        quantizer=quantizer,
        levels=levels,
        codes=codes,
        collisions=collisions,
        import_index=import_index,
        token_style=token_style,
        reuse=reuse,
        kmeans=KMeansOptions(iterations, restarts, sample, balanced, beam),
        rqvae=RQVAEOptions(
            hidden=tuple(common.numbers(hidden, "--hidden")),
            latent=latent,
            dropout=dropout,
            commitment=commitment,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            codebook_rate=codebook_rate,
            warm_up=warm_up,
            start=start,
            diversity=diversity,
            sinkhorn=sinkhorn,
            patience=patience,
            check_every=check_every,
        ),
        text_model=EncoderOptions(pooling, prompt, max_tokens, batch_tokens),
        seed=seed,
        device=device,
        dtype=dtype,
        force=force,
        resume=not no_resume,
    )
    if processes.rank() > 0:
        return  # it has encoded its share; the first process has the figures
    show(manifest)
    if plot:
        from gti_cli.semantic_ids.plot import plot_quality

        for path in plot_quality(workspace):
            console.say(str(path))
    common.finish(manifest, workspace / "semantic_ids.parquet")


def show(manifest: Manifest) -> None:
    """Print the quality of the semantic IDs."""
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
        console.say(f"{counts['new_items']:,} of them are new; no earlier ID has changed.")
    console.table(
        f"Collisions ({manifest.details['collisions']}: {counts['moved']:,} items moved, "
        f"{counts['identical_embeddings']:,} with the embedding of another)",
        ["", "distinct tuples", "collision rate", "items in collisions", "largest group"],
        [[name, *[figures[key] for key in names]] for name, figures in (("before", before), ("after", after))],
    )
    rows = [
        [f"neighbours kept (of {metrics['neighbourhood']['neighbours']})", e["depth"], e["recall"], e["by_chance"]]
        for e in metrics["neighbourhood"]["prefixes"]
    ]
    for column, entries in metrics.get("purity", {}).items():
        rows += [[f"purity of {column}", e["depth"], e["purity"], e["shuffled"]] for e in entries]
    console.table("What a shared prefix means", ["", "codes", "share", "by chance"], rows)
    console.table(
        "The fullest first codes",
        ["prefix", "items", "for example"],
        [[e["prefix"], e["items"], " | ".join(e["titles"])] for e in metrics["fullest_prefixes"]],
    )
