"""Options of `gti build-ids`; imports neither torch nor faiss, so that they are checked before those load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

STARTS = ("kmeans", "rq-kmeans", "random")
POOLINGS = ("auto", "mean", "cls", "last")
RECORDED_BATCH = 1 << 14  # What manifests say of batches that the device decides on.
MAX_CODES = 1 << 20  # Of one level. Each code becomes a token, so a larger number is a mistake.


@dataclass(frozen=True)
class IdsOptions:
    """How items are encoded, and how many codes they get.

    Attributes:
        encoder: ``lsa``, ``column``, or a sentence-transformers model; None: the ``embedding`` column where there is
            one, else LSA.
        text_columns: Columns that make an item's text; None: those of title, description, brand and categories that
            the table has.
        quantizer: ``rq-kmeans`` (None) or ``rq-vae``.
        levels: The number of levels L; None: 4, or the length of ``codes``.
        codes: Codes of every level, or a list with one number for each level (``"1024,512,256"``); None: 256.
        collisions: See `gti_cli.semantic_ids.collisions.resolve`; None: ``next-best``, or ``allow`` for an imported
            index.
        import_index: File with codes in LC-Rec's JSON, used instead of quantizing. Each code's vector is then the mean
            residual of its items (`residuals.mean_codebooks`), so that the diagnostics have codebook vectors.
        token_style: ``lc-rec`` (None) or ``onerec``, see `gti_cli.checkpoints.new_tokens`.
        reuse: Add the items to those of the workspace with its encoder and codebooks, see `gti_cli.semantic_ids.reuse`.
    """

    encoder: str | None = option(
        None,
        "lsa (TF-IDF and SVD, no download), column (the embedding column), or a sentence-transformers model "
        "by name or folder.",
        shown="column where there is one, else lsa",
    )
    text_columns: tuple[str, ...] | None = option(
        None, "Columns that make an item's text.", shown="title,description,brand,categories, if present"
    )
    quantizer: str | None = option(None, "rq-kmeans or rq-vae.", shown="rq-kmeans")
    levels: int | None = option(None, "Codes in a semantic ID.", shown="4, or the length of --codes")
    codes: str | int | Sequence[int] | None = option(
        None, "Codes of each level: one number, or a list 1024,512,256.", shown="256", written=str | None
    )
    collisions: str | None = option(
        None,
        "What to do with items of the same codes: next-best (nearest free code), sinkhorn (balanced last level), "
        "suffix (one more level), allow (leave them).",
        shown="next-best; allow with --import-index",
    )
    import_index: Path | str | None = option(
        None,
        'Take the codes from LC-Rec\'s JSON {"item": ["<a_12>", ...]} instead of quantizing; each code\'s '
        "vector is then the mean residual of its items.",
        written=Path | None,
    )
    token_style: str | None = option(
        None, "Names: lc-rec <a_12><b_3>..., or onerec <|sid_begin|><s_a_12><s_b_3>...<|sid_end|>.", shown="lc-rec"
    )
    reuse: bool = option(
        False,
        "Add ITEMS, which are new, to those of the workspace with its encoder and codebooks. No earlier ID changes, "
        "and everything made from them stays valid.",
    )


class IdsKeywords(RunKeywords, total=False):
    """`IdsOptions` and `RunOptions` as keywords."""

    encoder: str | None
    text_columns: Sequence[str] | None
    quantizer: str | None
    levels: int | None
    codes: str | int | Sequence[int] | None
    collisions: str | None
    import_index: Path | str | None
    token_style: str | None
    reuse: bool


@dataclass(frozen=True)
class EncoderOptions:
    """How a text model encodes.

    Attributes:
        pooling: ``auto`` (the model's own), or ``mean``, ``cls``, ``last`` token.
        prompt: Text put before each item's text; None: the model's default prompt, if it has one.
        max_tokens: Tokens after which a text is cut; None: the model's limit.
        batch_tokens: The most tokens in a batch, padding included; None: by the device.
    """

    pooling: str = option("auto", "auto (the model's own), mean, cls or last token.")
    prompt: str | None = option(None, "Text put before each item's text.", shown="the model's own")
    max_tokens: int | None = option(None, "Tokens after which a text is cut.", shown="the model's limit")
    batch_tokens: int | None = option(
        None, "The most tokens in a batch, padding included.", shown="2048 on a CPU, else 16384"
    )

    def check(self) -> None:
        """Raise `InputError` where a value is invalid."""
        if self.pooling not in POOLINGS:
            raise InputError(f"unknown --pooling {self.pooling!r}", remedy=f"use {', '.join(POOLINGS)}")
        if self.max_tokens is not None:
            _at_least("--max-tokens", self.max_tokens, 2)
        if self.batch_tokens is not None:
            _at_least("--batch-tokens", self.batch_tokens, 1)

    def recorded(self) -> dict[str, Any]:
        """All values for the manifest. Where the device decides on the batches, they are not told apart by it.

        `RECORDED_BATCH` then stands for them, as it did while it was the default on all devices: so semantic IDs that
        were made before, or on another device, are recognised.
        """
        return {**asdict(self), "batch_tokens": self.batch_tokens or RECORDED_BATCH}

    @classmethod
    def from_recorded(cls, values: Mapping[str, Any]) -> EncoderOptions:
        """The inverse of `recorded`."""
        batch = values["batch_tokens"]
        return cls(**{**values, "batch_tokens": None if batch == RECORDED_BATCH else batch})


@dataclass(frozen=True)
class KMeansOptions:
    """How residual k-means trains its codebooks and encodes with them.

    Attributes:
        iterations: Iterations of Lloyd's algorithm in each level, after its warm start.
        restarts: Runs of each level, of which the one with the lowest error is used.
        sample: The most vectors to train on; all vectors are encoded.
        balanced: Train each level for evenly used codes (`gti_cli.semantic_ids.quantizers.balanced_kmeans`); slower.
        beam: Width of the beam search when encoding: 1 is greedy, more gives a lower error (Babenko & Lempitsky, CVPR
            2014). Training is greedy in any case.
    """

    iterations: int = option(10, "Iterations of Lloyd's algorithm in each level, after its warm start.")
    restarts: int = option(1, "Runs of each level; the best is used.")
    sample: int = option(1 << 18, "The most items to train on (all are encoded).")
    balanced: bool = option(False, "Train for evenly used codes (slower).")
    beam: int = option(1, "Width of the beam search when encoding; 1 is greedy.")

    def check(self) -> None:
        """Raise `InputError` where a value is invalid."""
        for name in ("iterations", "restarts", "sample", "beam"):
            _at_least(f"--{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class RQVAEOptions:
    """Model and training of an RQ-VAE. Defaults are those of arXiv 2604.02324 where no other source is named.

    Attributes:
        hidden: Widths of the encoder's layers, mirrored in the decoder. For embeddings of width d, no layer is wider
            than 4 d.
        latent: Width of the latent vector and of the codes; at most d.
        dropout: Dropout rate after each hidden ReLU.
        commitment: Weight of the commitment loss (0.25: van den Oord et al., arXiv 1711.00937, and LC-Rec).
        epochs: The most epochs.
        batch_size: The most items in a step (LC-Rec: 1,024); fewer for small catalogues, see `batch`.
        learning_rate: Learning rate of Adam (LC-Rec: 1e-3).
        codebook_rate: Factor on the learning rate for the codebooks, which must follow the latents while these move
            (ours; LC-Rec: 1). On Amazon Beauty, after 60 epochs: explained variance .75 instead of .71, 99 % of codes
            used.
        warm_up: Epochs of training as a plain autoencoder before the codebooks are initialised, so that they start
            from meaningful latents (0: from the untrained encoder, as LC-Rec does).
        start: Initialisation of the codebooks. ``kmeans``: residual k-means of the latents (as in the paper).
            ``rq-kmeans``: residual k-means of the embeddings decides which items share a code, and each code starts as
            the mean residual of its items' latents. ``random``: small random vectors.
        diversity: Weight of LETTER's diversity loss (arXiv 2405.07314: 1e-4); 0 turns it off.
        sinkhorn: Epsilon of the balanced assignment of each batch in the last level while training (LC-Rec, arXiv
            2311.09049: 0.003); 0: the nearest code, as in the other levels. Final IDs always use the nearest code.
        patience: Training stops when neither the reconstruction error nor the number of collisions improves by 0.5 %
            in this number of checks in a row.
        check_every: Epochs between checks.
    """

    hidden: tuple[int, ...] = option((1024, 512, 256), "Widths of the encoder's layers; the decoder mirrors them.")
    latent: int = option(32, "Width of the latent and of the codes.")
    dropout: float = option(0.1, "Dropout rate after each hidden layer.")
    commitment: float = option(0.25, "Weight of the commitment loss.")
    epochs: int = option(1000, "The most epochs; training stops when nothing improves.")
    batch_size: int = option(1024, "The most items in a step (fewer for small catalogues).")
    learning_rate: float = option(1e-3, "Learning rate of Adam.")
    codebook_rate: float = option(10.0, "Factor on the learning rate for the codebooks.")
    warm_up: int = option(20, "Epochs as a plain autoencoder before the codebooks are initialised.")
    start: str = option(
        "kmeans", "Start of the codebooks: kmeans (of the latents), rq-kmeans (of the embeddings) or random."
    )
    diversity: float = option(1e-4, "Weight of LETTER's diversity loss; 0 turns it off.")
    sinkhorn: float = option(
        0.003, "Epsilon of the balanced assignment in the last level while training; 0: nearest code."
    )
    patience: int = option(5, "Checks in a row without improvement after which training stops.")
    check_every: int = option(10, "Epochs between checks.")

    def fitted(self, width: int) -> tuple[list[int], int]:
        """Hidden widths and latent width for embeddings of ``width``, capped as the class says."""
        return [min(size, 4 * width) for size in self.hidden], min(self.latent, width)

    def batch(self, items: int, last: int) -> int:
        """The number of items in a step: at least 16 steps in an epoch where the limits allow it.

        Args:
            items: The number of items in the catalogue.
            last: The number of codes of the last level.

        Returns:
            At most ``batch_size``. Below that, at least 32; with ``sinkhorn``, at least four for each code of the last
            level, because a balanced assignment of fewer would separate similar items without need.
        """
        least = 4 * last if self.sinkhorn > 0 else 32
        return min(self.batch_size, max(items // 16, least))

    def check(self) -> None:
        """Raise `InputError` where a value is invalid."""
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"--hidden {list(self.hidden)} must be widths of at least 1", remedy="write 1024,512,256")
        for name in ("latent", "epochs", "batch_size", "patience", "check_every"):
            _at_least("--" + name.replace("_", "-"), getattr(self, name), 1)
        _at_least("--warm-up", self.warm_up, 0)
        for name in ("commitment", "diversity", "sinkhorn"):
            _at_least(f"--{name}", getattr(self, name), 0)
        if self.start not in STARTS:
            raise InputError(f"unknown --start {self.start!r}", remedy=f"use {', '.join(STARTS)}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"--dropout must be at least 0 and below 1, not {self.dropout}")
        for factor, rate in (("", 1.0), (" times --codebook-rate", self.codebook_rate)):
            if not 0 < self.learning_rate * rate < 1:
                raise InputError(
                    f"--learning-rate{factor} must be above 0 and below 1, not {self.learning_rate * rate}"
                )


def _at_least(option: str, value: float, least: int) -> None:
    if not value >= least:  # also refuses NaN
        raise InputError(f"{option} must be at least {least}, not {value}")
