"""Options of the quantisers; imports neither torch nor faiss, so that they can be checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from gti_cli.errors import InputError

STARTS = ("kmeans", "rq-kmeans", "random")
POOLINGS = ("auto", "mean", "cls", "last")


@dataclass(frozen=True)
class EncoderOptions:
    """How a text model encodes.

    Attributes:
        pooling: ``auto`` (the model's own), or ``mean``, ``cls``, ``last`` token.
        prompt: put before each text (None: the model's own default prompt, if it has one).
        max_tokens: texts are cut there (None: what the model reads). batch_tokens: tokens in a batch, padding included.
    """

    pooling: str = "auto"
    prompt: str | None = None
    max_tokens: int | None = None
    batch_tokens: int = 1 << 14

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
        balanced: train each level for evenly used codes (`gti_cli.semantic_ids.balanced`); slower.
        beam: how many partial codes an item keeps from level to level when it is encoded (1: greedy; more: a lower
            error, as in the beam search of Babenko & Lempitsky, CVPR 2014). Codebooks are trained greedily.
    """

    iterations: int = 10
    restarts: int = 1
    sample: int = 1 << 18
    balanced: bool = False
    beam: int = 1

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

    hidden: tuple[int, ...] = (1024, 512, 256)
    latent: int = 32
    dropout: float = 0.1
    commitment: float = 0.25
    epochs: int = 1000
    batch_size: int = 1024
    learning_rate: float = 1e-3
    codebook_rate: float = 10.0
    warm_up: int = 20
    start: str = "kmeans"
    diversity: float = 1e-4
    sinkhorn: float = 0.003
    patience: int = 5
    check_every: int = 10

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
        for option, rate in (("", 1.0), (" times --codebook-rate", self.codebook_rate)):
            if not 0 < self.learning_rate * rate < 1:
                raise InputError(
                    f"--learning-rate{option} must be above 0 and below 1, not {self.learning_rate * rate}"
                )


def _at_least(option: str, value: float, least: int) -> None:
    if not value >= least:  # also refuses NaN
        raise InputError(f"{option} must be at least {least}, not {value}")
