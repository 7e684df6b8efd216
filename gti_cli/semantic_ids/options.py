"""Options of the stage; imports neither torch nor faiss, so that they can be checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

STARTS = ("kmeans", "rq-kmeans", "random")
POOLINGS = ("auto", "mean", "cls", "last")


@dataclass(frozen=True)
class IdsOptions:
    """What an item is read by and how many codes it gets.

    Attributes:
        encoder: ``lsa``, ``column``, or a sentence-transformers model; None: the ``embedding`` column, else LSA.
        text_columns: which columns make an item's text; None: title, description, brand, categories, as far as there.
        quantizer: ``rq-kmeans`` (None) or ``rq-vae``. levels: L; None: 4, or as many as ``codes`` lists.
        codes: K for all levels, or a list (``"1024,512,256"``); None: 256.
        collisions: see `gti_cli.semantic_ids.collisions`; None: ``next-best`` (``allow`` for an imported index).
        import_index: codes in LC-Rec's JSON instead of quantising. The codebooks are then the mean residuals of each
            code's items (`residuals.mean_codebooks`), so that the diagnostics have something to compare with.
        token_style: ``lc-rec`` (None) or ``onerec``, see `gti_cli.checkpoints.token_names`.
        reuse: add the items to those of the workspace with its encoder and codebooks (`gti_cli.semantic_ids.reuse`).
    """

    encoder: str | None = option(
        None,
        "lsa (TF-IDF and SVD, no download), column (the embedding column), or a sentence-transformers model "
        "by name or folder.",
        shown="column where there is one, else lsa",
    )
    text_columns: tuple[str, ...] | None = option(
        None, "Columns that make an item's text.", shown="title,description,brand,categories, those there are"
    )
    quantizer: str | None = option(None, "rq-kmeans or rq-vae.", shown="rq-kmeans")
    levels: int | None = option(None, "Codes in a semantic ID.", shown="4, or as --codes lists")
    codes: str | int | Sequence[int] | None = option(
        None, "Codes of each level: one number, or a list 1024,512,256.", shown="256", written=str | None
    )
    collisions: str | None = option(
        None,
        "Items with the same codes: next-best (nearest free code), sinkhorn (balanced last level), suffix "
        "(one more level), allow.",
        shown="next-best; allow with --import-index",
    )
    import_index: Path | str | None = option(
        None,
        'Take the codes from LC-Rec\'s JSON {"item": ["<a_12>", ...]} instead of quantising; each code\'s '
        "vector is then the mean of what its items leave over.",
        written=Path | None,
    )
    token_style: str | None = option(
        None, "Names: lc-rec <a_12><b_3>..., or onerec <|sid_begin|><s_a_12><s_b_3>...<|sid_end|>.", shown="lc-rec"
    )
    reuse: bool = option(
        False,
        "ITEMS are new: add them to the workspace's with its encoder and codebooks. No earlier ID changes, "
        "and what was made from them stays valid.",
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
        prompt: put before each text (None: the model's own default prompt, if it has one).
        max_tokens: texts are cut there (None: what the model reads). batch_tokens: tokens in a batch, padding included.
    """

    pooling: str = option("auto", "auto (the model's own), mean, cls or last token.")
    prompt: str | None = option(None, "Put before each text.", shown="the model's own")
    max_tokens: int | None = option(None, "Cut texts there.", shown="what the model reads")
    batch_tokens: int = option(1 << 14, "Tokens in a batch, padding included.")

    def check(self) -> None:
        """`InputError` where a value makes no sense."""
        if self.pooling not in POOLINGS:
            raise InputError(f"unknown --pooling {self.pooling!r}", remedy=f"use {', '.join(POOLINGS)}")
        if self.max_tokens is not None:
            _at_least("--max-tokens", self.max_tokens, 2)
        _at_least("--batch-tokens", self.batch_tokens, 1)


@dataclass(frozen=True)
class KMeansOptions:
    """How the codebooks are trained.

    Attributes:
        iterations: of Lloyd's algorithm in each level, behind its warm start. restarts: runs of each level, the best of
            which is kept. sample: at most so many vectors are trained on (all are encoded).
        balanced: train each level for evenly used codes (`gti_cli.semantic_ids.quantizers.balanced`); slower.
        beam: how many partial codes an item keeps from level to level when it is encoded (1: greedy; more: a lower
            error, as in the beam search of Babenko & Lempitsky, CVPR 2014). Codebooks are trained greedily.
    """

    iterations: int = option(10, "Of Lloyd's algorithm in each level, behind its warm start.")
    restarts: int = option(1, "Runs of each level; the best is kept.")
    sample: int = option(1 << 18, "Train on at most so many items (all are encoded).")
    balanced: bool = option(False, "Train for evenly used codes (slower).")
    beam: int = option(1, "Partial codes an item keeps from level to level; 1 is greedy.")

    def check(self) -> None:
        """`InputError` where a number makes no sense."""
        for name in ("iterations", "restarts", "sample", "beam"):
            _at_least(f"--{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class RQVAEOptions:
    """Model and training. Defaults without a word are the paper's (arXiv 2604.02324).

    Attributes:
        hidden: widths of the encoder's layers, mirrored in the decoder. latent: width of the latent and of the codes.
            Both are capped by the data: no layer wider than 4 d, no latent wider than d, for embeddings of width d.
        dropout: after each hidden ReLU. commitment: weight of the commitment loss (0.25: van den Oord et al., arXiv
            1711.00937, and LC-Rec). epochs: at most. learning_rate: of Adam (LC-Rec's 1e-3).
        codebook_rate: how many times that for the codebooks, which must follow the latents while these move (our own;
            1: as LC-Rec). On beauty, after 60 epochs: explained variance .75 instead of .71, 99 % of codes used.
        batch_size: at most (LC-Rec's 1,024); smaller for few items, see `batch`.
        warm_up: epochs as a plain autoencoder before the codebooks start, so that they start from latents that mean
            something (0: from the untrained encoder, as LC-Rec does).
        start: of the codebooks. ``kmeans``: residual k-means of the latents (as in the paper). ``rq-kmeans``: residual
            k-means of the embeddings themselves decides which items share a code, and each code starts as the mean of
            its items' latents (what is left of them). ``random``: small random vectors.
        diversity: weight of LETTER's diversity loss (arXiv 2405.07314, whose weight is 1e-4; 0: without).
        sinkhorn: epsilon of the balanced assignment of each batch in the last level while training (LC-Rec, arXiv
            2311.09049, uses 0.003; 0: nearest code as in the other levels). IDs are always made by the nearest code.
        patience: training stops when for so many checks in a row neither the reconstruction error nor the number of
            collisions got better by 0.5 %. check_every: epochs between checks.
    """

    hidden: tuple[int, ...] = option((1024, 512, 256), "Widths of the encoder's layers; the decoder mirrors them.")
    latent: int = option(32, "Width of the latent and of the codes.")
    dropout: float = option(0.1, "After each hidden layer.")
    commitment: float = option(0.25, "Weight of the commitment loss.")
    epochs: int = option(1000, "At most; it stops when nothing improves.")
    batch_size: int = option(1024, "Items a step, at most (fewer for small catalogues).")
    learning_rate: float = option(1e-3, "Of Adam.")
    codebook_rate: float = option(10.0, "How many times that rate for the codebooks.")
    warm_up: int = option(20, "Epochs as a plain autoencoder before the k-means start.")
    start: str = option("kmeans", "Of the codebooks: kmeans (of the latents), rq-kmeans (of the embeddings) or random.")
    diversity: float = option(1e-4, "Weight of LETTER's diversity loss; 0 leaves it out.")
    sinkhorn: float = option(
        0.003, "Epsilon of the balanced assignment in the last level while training; 0: nearest code."
    )
    patience: int = option(5, "Checks in a row without improvement after which it stops.")
    check_every: int = option(10, "Epochs between checks.")

    def fitted(self, width: int) -> tuple[list[int], int]:
        """Hidden widths and latent width for embeddings of ``width``."""
        return [min(size, 4 * width) for size in self.hidden], min(self.latent, width)

    def batch(self, items: int, last: int) -> int:
        """Items a step: few enough for 16 steps an epoch, so that an epoch of a small catalogue is worth something.

        Never more than ``batch_size``, and (up to there) no less than 32, or with `sinkhorn` four for each of the
        ``last`` codes of the last level: a balanced assignment of fewer would force items apart for no reason.
        """
        least = 4 * last if self.sinkhorn > 0 else 32
        return min(self.batch_size, max(items // 16, least))

    def check(self) -> None:
        """`InputError` where a number makes no sense."""
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
