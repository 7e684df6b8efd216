"""Check a request for semantic IDs and settle every option before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gti_cli.checkpoints.token_names import MAX_LEVELS, TOKEN_STYLES
from gti_cli.errors import InputError
from gti_cli.options import changed
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.catalogue import Catalogue, read_catalogue
from gti_cli.semantic_ids.collisions.resolve import POLICIES, check_capacity
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, resolve_encoder
from gti_cli.semantic_ids.index_file import ImportedIndex, read_index
from gti_cli.semantic_ids.options import MAX_CODES, EncoderOptions, IdsOptions, KMeansOptions, RQVAEOptions

QUANTIZERS = ("rq-kmeans", "rq-vae")
DEFAULT_LEVELS, DEFAULT_CODES = 4, 256


@dataclass(frozen=True)
class BuildPlan:
    """A checked request with every option settled.

    Attributes:
        catalogue: The items.
        encoder: ``lsa``, ``column``, or the name or folder of a text model.
        quantizer: One of `QUANTIZERS`, or ``import``.
        sizes: The number of codes of each level, without a suffix level.
        policy: How collisions are resolved, one of `gti_cli.semantic_ids.collisions.resolve.POLICIES`.
        style: Style of the token names: ``lc-rec`` or ``onerec``.
        index: Imported codes, if any.
        kmeans: Options of residual k-means.
        rqvae: Options of the RQ-VAE.
        text_model: Options of a text encoder that is a model.
    """

    catalogue: Catalogue
    encoder: str
    quantizer: str
    sizes: list[int]
    policy: str
    style: str
    index: ImportedIndex | None
    kmeans: KMeansOptions
    rqvae: RQVAEOptions
    text_model: EncoderOptions

    def options(self) -> dict[str, Any]:
        """All options that affect the result, for the manifest."""
        chosen: dict[str, Any] = {
            "encoder": self.encoder,
            "text_columns": self.catalogue.text_columns,
            "quantizer": self.quantizer,
            "levels": len(self.sizes),
            "codes": self.sizes,
            "collisions": self.policy,
            "token_style": self.style,
        }
        if self.encoder not in (LSA, COLUMN):
            chosen["text_model"] = self.text_model.recorded()
        if self.quantizer == "rq-kmeans":
            chosen["kmeans"] = asdict(self.kmeans)
        if self.quantizer == "rq-vae":
            chosen["rqvae"] = asdict(self.rqvae)
        return chosen

    @property
    def beam(self) -> int:
        """Width of the beam search when encoding; 1 for an RQ-VAE, whose codebooks are trained for the nearest code."""
        return self.kmeans.beam if self.quantizer == "rq-kmeans" else 1

    def outputs(self) -> list[str]:
        """The files that the stage writes."""
        extra = [artifact.HISTORY] if self.quantizer == "rq-vae" else []
        if self.quantizer == "rq-vae" or self.encoder == LSA:
            extra.append(artifact.REUSE)
        return [*artifact.FILES, *extra]


def make_plan(
    items: Path | str,
    options: IdsOptions,
    *,
    kmeans: KMeansOptions | None = None,
    rqvae: RQVAEOptions | None = None,
    text_model: EncoderOptions | None = None,
    folder: Path | None = None,
) -> BuildPlan:
    """Read the items, check every option and fill in the defaults; see `gti_cli.semantic_ids.options`.

    Args:
        items: The items table.
        options: Encoder, quantizer, sizes and policies.
        kmeans: Options of residual k-means; None: the defaults.
        rqvae: Options of the RQ-VAE; None: the defaults.
        text_model: Options of a text encoder that is a model; None: the defaults.
        folder: Where large texts are put into a temporary file; None: where the system keeps such.

    Raises:
        InputError: When the table or an option is invalid, or an option would have no effect.
    """
    kmeans, rqvae = kmeans or KMeansOptions(), rqvae or RQVAEOptions()
    text_model = text_model or EncoderOptions()
    quantizer = options.quantizer or QUANTIZERS[0]
    _one_of("--quantizer", quantizer, QUANTIZERS)
    style = options.token_style or TOKEN_STYLES[0]
    _one_of("--token-style", style, TOKEN_STYLES)
    policy = options.collisions or ("allow" if options.import_index else "next-best")
    _one_of("--collisions", policy, POLICIES)
    kmeans.check()
    rqvae.check()
    text_model.check()
    used_by = None if options.import_index is not None else quantizer
    _refuse_unused(kmeans, "--quantizer rq-kmeans", used_by == "rq-kmeans")
    _refuse_unused(rqvae, "--quantizer rq-vae", used_by == "rq-vae")
    sizes = parse_sizes(options.codes, options.levels)
    catalogue = read_catalogue(items, options.text_columns, folder)
    encoder = resolve_encoder(catalogue, options.encoder)
    _refuse_unused(text_model, "an --encoder that is a model", encoder not in (LSA, COLUMN))
    index = None
    if options.import_index is not None:
        # Sizes that the caller did not give are those of the index, not the defaults.
        given_sizes = sizes if options.codes is not None or options.levels is not None else None
        index = read_index(options.import_index, catalogue.item_ids, given_sizes)
        quantizer, sizes = "import", index.sizes
    _check_levels(len(sizes), policy)
    check_capacity(len(catalogue), sizes, policy)
    if index is None:
        check_enough(len(catalogue), sizes, "items")
    return BuildPlan(catalogue, encoder, quantizer, sizes, policy, style, index, kmeans, rqvae, text_model)


def parse_sizes(codes: str | int | Sequence[int] | None, levels: int | None) -> list[int]:
    """The number of codes of each level.

    Args:
        codes: One number for all levels (None: 256), or one number for each level, also as a string with commas.
        levels: The number of levels; None: 4, or the length of ``codes``.

    Raises:
        InputError: When a size is not a whole number in range, or ``codes`` and ``levels`` disagree.
    """
    try:
        if codes is None:
            sizes = [DEFAULT_CODES]
        elif isinstance(codes, str):
            sizes = [int(part) for part in codes.split(",")]
        else:
            sizes = [codes] if isinstance(codes, int) else [int(size) for size in codes]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1 or max(sizes) > MAX_CODES:
        raise InputError(
            f"--codes {codes!r} must be whole numbers from 1 to {MAX_CODES:,}", remedy="write 256 or 1024,512,256"
        )
    if levels is not None and not 1 <= levels <= MAX_LEVELS:
        raise InputError(f"--levels must be from 1 to {MAX_LEVELS}, not {levels}")
    if len(sizes) == 1:
        return sizes * (DEFAULT_LEVELS if levels is None else levels)
    if levels is not None and len(sizes) != levels:
        raise InputError(
            f"--codes lists {len(sizes)} levels, --levels says {levels}",
            remedy="leave out --levels, or make them agree",
        )
    return sizes


def check_enough(n: int, sizes: Sequence[int], what: str) -> None:
    """Refuse a level with more codes than vectors: k-means cannot place them.

    Args:
        n: The number of vectors.
        sizes: The number of codes of each level.
        what: Names the vectors in the message, e.g. ``items``.

    Raises:
        InputError: When a level has more than ``n`` codes.
    """
    if n < max(sizes):
        level = max(range(len(sizes)), key=lambda index: sizes[index])
        fewer = min(n, 256) // 4
        raise InputError(
            f"the number of {what}, {n:,}, is below that of the codes of level {level}, {sizes[level]:,}",
            remedy=f"use --codes {fewer} or so, or give more items"
            if fewer > 1
            else "use fewer --codes, or give more items",
        )


def _check_levels(levels: int, policy: str) -> None:
    total = levels + (policy == "suffix")
    if total > MAX_LEVELS:
        raise InputError(f"{total} levels are more than the {MAX_LEVELS} letters that name them")


def _refuse_unused(options: KMeansOptions | RQVAEOptions | EncoderOptions, whose: str, used: bool) -> None:
    """Refuse options that would have no effect, because a caller who gives one expects an effect."""
    given = ", ".join("--" + name.replace("_", "-") for name in changed(options))
    if given and not used:
        raise InputError(f"{given} would have no effect here", remedy=f"use {whose}, or leave {given} out")


def _one_of(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"unknown {option} {value!r}", remedy=f"use {' or '.join(choices)}")
