"""What `build_ids` is asked to do, checked before anything is computed."""

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
from gti_cli.semantic_ids.collisions import collisions
from gti_cli.semantic_ids.encoders.encode import COLUMN, LSA, resolve_encoder
from gti_cli.semantic_ids.index_file import ImportedIndex, read_index
from gti_cli.semantic_ids.options import EncoderOptions, IdsOptions, KMeansOptions, RQVAEOptions

QUANTIZERS = ("rq-kmeans", "rq-vae")
DEFAULT_LEVELS, DEFAULT_CODES = 4, 256
MOST_CODES = 1 << 20


@dataclass(frozen=True)
class Plan:
    """A checked request.

    Attributes:
        catalogue: the items. encoder: resolved. quantizer: one of `QUANTIZERS`, or ``import``.
        sizes: codes of each level, without a suffix level. policy: for collisions.
        style: of token names. index: imported codes, if any.
        kmeans, rqvae: options of the quantisers. text_model: of an encoder that is a model.
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
        """All options that decide the result, for the manifest."""
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
            chosen["text_model"] = asdict(self.text_model)
        if self.quantizer == "rq-kmeans":
            chosen["kmeans"] = asdict(self.kmeans)
        if self.quantizer == "rq-vae":
            chosen["rqvae"] = asdict(self.rqvae)
        return chosen

    @property
    def beam(self) -> int:
        """Partial codes kept while encoding; an RQ-VAE's codebooks are trained for the nearest code."""
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
) -> Plan:
    """Read the items and check every option; see `gti_cli.semantic_ids.options` for what they mean.

    Raises:
        InputError: anything wrong with the table or the options.
    """
    kmeans, rqvae = kmeans or KMeansOptions(), rqvae or RQVAEOptions()
    text_model = text_model or EncoderOptions()
    quantizer = options.quantizer or QUANTIZERS[0]
    _one_of("--quantizer", quantizer, QUANTIZERS)
    style = options.token_style or TOKEN_STYLES[0]
    _one_of("--token-style", style, TOKEN_STYLES)
    policy = options.collisions or ("allow" if options.import_index else "next-best")
    _one_of("--collisions", policy, collisions.POLICIES)
    kmeans.check()
    rqvae.check()
    text_model.check()
    used_by = None if options.import_index is not None else quantizer
    _refuse_unused(kmeans, "--quantizer rq-kmeans", used_by == "rq-kmeans")
    _refuse_unused(rqvae, "--quantizer rq-vae", used_by == "rq-vae")
    sizes = parse_sizes(options.codes, options.levels)
    catalogue = read_catalogue(items, options.text_columns)
    chosen = resolve_encoder(catalogue, options.encoder)
    _refuse_unused(text_model, "an --encoder that is a model", chosen not in (LSA, COLUMN))
    index = None
    if options.import_index is not None:
        given = sizes if options.codes is not None or options.levels is not None else None
        index = read_index(options.import_index, catalogue.item_ids, given)
        quantizer, sizes = "import", index.sizes
    _check_levels(len(sizes), policy)
    collisions.check_capacity(len(catalogue), sizes, policy)
    if index is None:
        check_enough(len(catalogue), sizes, "items")
    return Plan(catalogue, chosen, quantizer, sizes, policy, style, index, kmeans, rqvae, text_model)


def parse_sizes(codes: str | int | Sequence[int] | None, levels: int | None) -> list[int]:
    """Codes of each level: one number for all ``levels`` (default 4 of 256), or a list with one number a level.

    Raises:
        InputError: no positive whole numbers, or a list whose length is not ``levels``.
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
    if not sizes or min(sizes) < 1 or max(sizes) > MOST_CODES:
        raise InputError(
            f"--codes {codes!r} must be whole numbers from 1 to {MOST_CODES:,}", remedy="write 256 or 1024,512,256"
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
    """Refuse more codes in a level than there are ``n`` vectors to put them at.

    Raises:
        InputError: with the numbers.
    """
    if n < max(sizes):
        level = max(range(len(sizes)), key=lambda index: sizes[index])
        raise InputError(
            f"{n:,} {what} are fewer than the {sizes[level]:,} codes of level {level}",
            remedy=f"use --codes {max(1, min(n, 256) // 4)} or so, or give more items",
        )


def _check_levels(levels: int, policy: str) -> None:
    total = levels + (policy == "suffix")
    if total > MAX_LEVELS:
        raise InputError(f"{total} levels are more than the {MAX_LEVELS} letters that name them")


def _refuse_unused(options: KMeansOptions | RQVAEOptions | EncoderOptions, whose: str, used: bool) -> None:
    """Refuse options that would change nothing: who gives them expects that they do."""
    given = ", ".join("--" + name.replace("_", "-") for name in changed(options))
    if given and not used:
        raise InputError(f"{given} would have no effect here", remedy=f"use {whose}, or leave {given} out")


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"unknown {option} {value!r}", remedy=f"use {' or '.join(known)}")
