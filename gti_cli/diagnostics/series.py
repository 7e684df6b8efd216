"""One matrix of one checkpoint, measured: what the tables, the pictures and the report show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.pictures.hierarchy import binned_cosines
from gti_cli.diagnostics.rows import Part
from gti_cli.diagnostics.subjects import Subject
from gti_cli.diagnostics.verdict import judge
from gti_cli.diagnostics.words import Agreement, NearestWords, TextWords, agreement, nearest_words
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import cosine_matrix

SHOWN = 50  # pretrained and new tokens in the picture of cosines, as in the paper
LONGEST = 34  # characters of a series' name in a picture


@dataclass(frozen=True)
class Series:
    """One matrix of one checkpoint.

    Attributes:
        name: e.g. ``"grounded"`` or ``"grounded (output)"``. figures: of `measure.measure`, and the verdict.
        values, pretrained_values: (k,) singular values of the new rows and of as many pretrained rows.
        cosines: (2 c, 2 c), of c pretrained tokens followed by c new ones. shown: names of those 2 c tokens.
        levels: (c,) levels of the new tokens shown.
        image: cosines of all new tokens by hierarchy, (p, p). image_levels: (n,) their levels, in that order.
    """

    name: str
    figures: dict[str, Any]
    values: npt.NDArray[np.float64]
    pretrained_values: npt.NDArray[np.float64]
    cosines: npt.NDArray[np.float64]
    shown: list[str]
    levels: npt.NDArray[np.int32]
    image: npt.NDArray[np.float64]
    image_levels: npt.NDArray[np.int32]

    @property
    def short(self) -> str:
        """The name, its middle left out where it is too long for a picture."""
        return shorten(self.name, LONGEST)


def shorten(name: str, longest: int) -> str:
    """``name`` in at most ``longest`` characters, its middle left out."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


@dataclass(frozen=True)
class Finding:
    """A series with what it was made from. ``agreement`` is None without a catalogue."""

    subject: Subject
    part_name: str
    part: Part
    series: Series
    words: NearestWords
    agreement: Agreement | None


def find(subject: Subject, part_name: str, texts: TextWords | None, seed: int) -> Finding:
    """Measure one matrix of a checkpoint and judge it."""
    rows, part = subject.rows, subject.rows.parts[part_name]
    measured = measure(
        part.new, part.pretrained, subject.oracle, levels=rows.tokens.levels, parents=subject.parents, seed=seed
    )
    figures = measured.figures
    mean = part.pretrained.mean(axis=0, dtype=np.float64).astype(np.float32)
    words = nearest_words(part.new, part.place, rows.pretrained, rows.vocabulary, mean=mean)
    agreed = None
    figures.update(word_agreement=None, word_agreement_chance=None, words_searched=words.searched)
    if texts is not None and rows.vocabulary is not None and subject.carriers is not None:
        agreed = agreement(words, subject.carriers, texts.of(rows.vocabulary))
        if agreed.tokens:
            figures.update(word_agreement=agreed.mean, word_agreement_chance=agreed.chance)
    verdict = judge(figures)
    figures.update(verdict=verdict.word, reason=verdict.reason, advice=verdict.advice)
    old, new = evenly(len(part.pretrained), SHOWN), evenly(len(part.new), SHOWN)
    names = rows.vocabulary.names if rows.vocabulary else {}
    series = Series(
        name=subject.label if len(rows.parts) == 1 else f"{subject.label} ({part_name})",
        figures=figures,
        values=measured.values,
        pretrained_values=measured.pretrained_values,
        cosines=cosine_matrix(np.vstack([part.pretrained[old], part.new[subject.order[new]]])),
        shown=[names.get(int(token), f"id {token}") for token in rows.sample[old]]
        + [rows.tokens.names[row] for row in subject.order[new]],
        levels=rows.tokens.levels[subject.order[new]],
        image=binned_cosines(part.new[subject.order]),
        image_levels=rows.tokens.levels[subject.order],
    )
    return Finding(subject, part_name, part, series, words, agreed)


def write_tables(findings: Sequence[Finding], folder: Path) -> None:
    """Write ``spectrum``, ``tokens``, ``words`` and ``cosine`` (``.parquet``) into ``folder``."""
    import pyarrow as pa

    def together(parts: list[dict[str, Any]]) -> pa.Table:
        """One table of the parts' rows."""
        return pa.concat_tables([pa.table(part) for part in parts])

    tables.write(folder / "spectrum.parquet", together([_spectrum(finding) for finding in findings]))
    tables.write(folder / "tokens.parquet", together([_tokens(finding) for finding in findings]))
    tables.write(folder / "words.parquet", together([_words(finding) for finding in findings]))
    tables.write(folder / "cosine.parquet", together([_cosine(finding) for finding in findings]))


def _key(finding: Finding, count: int) -> dict[str, Any]:
    return {"checkpoint": [finding.subject.label] * count, "matrix": [finding.part_name] * count}


def _spectrum(finding: Finding) -> dict[str, Any]:
    values = finding.series.values, finding.series.pretrained_values
    return {
        **_key(finding, sum(map(len, values))),
        "rows": ["new"] * len(values[0]) + ["pretrained"] * len(values[1]),
        "k": np.concatenate([np.arange(1, len(part) + 1) for part in values]),
        "singular_value": np.concatenate(values),
    }


def _tokens(finding: Finding) -> dict[str, Any]:
    tokens, subject = finding.subject.rows.tokens, finding.subject
    count = len(tokens.names)
    place = np.empty(count, dtype=np.int64)
    place[subject.order] = np.arange(count)
    hits = np.full(count, np.nan)
    if finding.agreement is not None:
        asked = np.isfinite(finding.agreement.hits)
        total = asked.sum(axis=1)
        hits[total > 0] = np.nansum(finding.agreement.hits, axis=1)[total > 0] / total[total > 0]
    return {
        **_key(finding, count),
        "token": tokens.names,
        "id": tokens.ids,
        "level": tokens.levels,
        "code": tokens.codes,
        "parent": subject.parents if subject.parents is not None else np.full(count, -1, dtype=np.int64),
        "items": [len(items) for items in subject.carriers] if subject.carriers is not None else [0] * count,
        "place": place,
        "norm": np.linalg.norm(finding.part.new.astype(np.float64), axis=1),
        "nearest_word": [row[0] for row in finding.words.words],
        "nearest_cosine": finding.words.neighbours.cosines[:, 0],
        "word_agreement": hits,
    }


def _words(finding: Finding) -> dict[str, Any]:
    ids = finding.words.neighbours.ids
    count, k = ids.shape
    hits = finding.agreement.hits if finding.agreement is not None else np.full(ids.shape, np.nan)
    return {
        **_key(finding, count * k),
        "token": np.repeat(finding.subject.rows.tokens.names, k).tolist(),
        "rank": np.tile(np.arange(1, k + 1), count),
        "id": ids.ravel(),
        "word": [word for row in finding.words.words for word in row],
        "cosine": finding.words.neighbours.cosines.ravel(),
        "in_item_texts": hits.ravel(),
    }


def _cosine(finding: Finding) -> dict[str, Any]:
    names, cosines = finding.series.shown, finding.series.cosines
    return {
        **_key(finding, cosines.size),
        "token": np.repeat(names, len(names)).tolist(),
        "other": names * len(names),
        "cosine": cosines.ravel(),
    }
