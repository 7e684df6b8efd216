"""The diagnosis of one matrix of one checkpoint: its figures, its nearest words, and the data of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.diagnostics.checkpoint_rows import CheckpointMatrix
from gti_cli.diagnostics.history import UNKNOWN, History
from gti_cli.diagnostics.inputs import DiagnosedCheckpoint
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.nearest_words import NearestWords, TextWords, WordAgreement, nearest_words, word_agreement
from gti_cli.diagnostics.pictures.hierarchy import binned_cosines
from gti_cli.diagnostics.verdict import deciding_rsa, judge, rsa_figures
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import cosine_matrix

SHOWN = 50  # pretrained tokens, and new tokens, in the picture of cosines, as in the paper
LONGEST = 34  # characters of a series' name in a picture


@dataclass(frozen=True)
class PlotSeries:
    """What the pictures show of one matrix of one checkpoint.

    Attributes:
        name: For example ``"grounded"`` or ``"grounded (output)"``.
        figures: The figures of `measure.measure`, of the nearest words and of the verdict, by name.
        singular_values: (k,) singular values of the new rows.
        pretrained_singular_values: (k,) singular values of the same number of pretrained rows.
        cosines: (2 c, 2 c) cosines among c pretrained tokens followed by c new tokens.
        shown: Names of these 2 c tokens.
        levels: (c,) levels of these c new tokens.
        image: (p, p) cosines among all new tokens, sorted by hierarchy.
        image_levels: (n,) levels of all new tokens, in the same order.
    """

    name: str
    figures: dict[str, Any]
    singular_values: npt.NDArray[np.float64]
    pretrained_singular_values: npt.NDArray[np.float64]
    cosines: npt.NDArray[np.float64]
    shown: list[str]
    levels: npt.NDArray[np.int32]
    image: npt.NDArray[np.float64]
    image_levels: npt.NDArray[np.int32]

    @property
    def short(self) -> str:
        """The name, shortened in its middle where it is too long for a picture."""
        return shorten(self.name, LONGEST)


def shorten(name: str, longest: int) -> str:
    """Shorten ``name`` to at most ``longest`` characters by leaving out its middle."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


@dataclass(frozen=True)
class MatrixDiagnosis:
    """The diagnosis of one matrix of one checkpoint.

    Attributes:
        checkpoint: Everything that was read of the checkpoint.
        matrix: ``input`` or ``output``.
        rows: The rows of the matrix that were read.
        series: The figures, and the data of the pictures.
        words: The pretrained words nearest to each new token.
        agreement: Whether these words occur in the texts of the items. None without items.
    """

    checkpoint: DiagnosedCheckpoint
    matrix: str
    rows: CheckpointMatrix
    series: PlotSeries
    words: NearestWords
    agreement: WordAgreement | None


def diagnose_matrix(
    checkpoint: DiagnosedCheckpoint, matrix: str, texts: TextWords | None, seed: int, history: History = UNKNOWN
) -> MatrixDiagnosis:
    """Measure one matrix of a checkpoint and judge it.

    Args:
        checkpoint: Everything that was read of the checkpoint.
        matrix: ``input`` or ``output``.
        texts: The words of the items' texts. None without items.
        seed: Seed of the permutation test, the bootstrap and sampled pairs.
        history: How the checkpoint came about, and what its evaluation found.
    """
    tokens, vocabulary = checkpoint.rows.tokens, checkpoint.rows.vocabulary
    rows = checkpoint.rows.matrices[matrix]
    measured = measure(
        rows.new,
        rows.pretrained,
        checkpoint.codebook_vectors,
        levels=tokens.levels,
        parents=checkpoint.parents,
        seed=seed,
    )
    figures = measured.figures
    mean = rows.pretrained.mean(axis=0, dtype=np.float64).astype(np.float32)
    words = nearest_words(rows.new, rows.place, checkpoint.rows.pretrained, vocabulary, mean=mean)
    agreement = None
    figures.update(word_agreement=None, word_agreement_chance=None, words_searched=words.searched)
    if texts is not None and vocabulary is not None and checkpoint.carriers is not None:
        agreement = word_agreement(words, checkpoint.carriers, texts.of(vocabulary))
        if agreement.tokens:
            figures.update(word_agreement=agreement.mean, word_agreement_chance=agreement.chance)
    verdict = judge(figures, history)
    figures.update(**rsa_figures(deciding_rsa(figures)), **history.figures())
    figures.update(verdict=verdict.grade, reason=verdict.reason, advice=verdict.advice)
    # The picture of cosines shows evenly spread tokens; the new ones are spread over the hierarchy.
    old_shown, new_shown = evenly(len(rows.pretrained), SHOWN), checkpoint.order[evenly(len(rows.new), SHOWN)]
    names = vocabulary.names if vocabulary else {}
    old_names = [names.get(int(token), f"id {token}") for token in checkpoint.rows.sample[old_shown]]
    series = PlotSeries(
        name=checkpoint.label if len(checkpoint.rows.matrices) == 1 else f"{checkpoint.label} ({matrix})",
        figures=figures,
        singular_values=measured.singular_values,
        pretrained_singular_values=measured.pretrained_singular_values,
        cosines=cosine_matrix(np.vstack([rows.pretrained[old_shown], rows.new[new_shown]])),
        shown=old_names + [tokens.names[row] for row in new_shown],
        levels=tokens.levels[new_shown],
        image=binned_cosines(rows.new[checkpoint.order]),
        image_levels=tokens.levels[checkpoint.order],
    )
    return MatrixDiagnosis(checkpoint, matrix, rows, series, words, agreement)


def write_tables(diagnoses: Sequence[MatrixDiagnosis], folder: Path) -> None:
    """Write ``spectrum``, ``tokens``, ``words`` and ``cosine`` (``.parquet``) of all matrices into ``folder``."""
    import pyarrow as pa

    for name, columns_of in (("spectrum", _spectrum), ("tokens", _tokens), ("words", _words), ("cosine", _cosine)):
        table = pa.concat_tables([pa.table(columns_of(diagnosis)) for diagnosis in diagnoses])
        tables.write(folder / f"{name}.parquet", table)


def _key(diagnosis: MatrixDiagnosis, count: int) -> dict[str, Any]:
    """The columns that say which matrix a row of a table belongs to."""
    return {"checkpoint": [diagnosis.checkpoint.label] * count, "matrix": [diagnosis.matrix] * count}


def _spectrum(diagnosis: MatrixDiagnosis) -> dict[str, Any]:
    """One row for each singular value, of the new rows and of as many pretrained rows."""
    spectra = diagnosis.series.singular_values, diagnosis.series.pretrained_singular_values
    return {
        **_key(diagnosis, sum(map(len, spectra))),
        "rows": ["new"] * len(spectra[0]) + ["pretrained"] * len(spectra[1]),
        "k": np.concatenate([np.arange(1, len(values) + 1) for values in spectra]),
        "singular_value": np.concatenate(spectra),
    }


def _tokens(diagnosis: MatrixDiagnosis) -> dict[str, Any]:
    """One row for each new token."""
    checkpoint, tokens = diagnosis.checkpoint, diagnosis.checkpoint.rows.tokens
    count = len(tokens.names)
    place = np.empty(count, dtype=np.int64)
    place[checkpoint.order] = np.arange(count)
    # Share of the token's nearest words that occur in the texts of its items; NaN where no word could be looked up.
    agreement = np.full(count, np.nan)
    if diagnosis.agreement is not None:
        looked_up = np.isfinite(diagnosis.agreement.hits).sum(axis=1)
        some = looked_up > 0
        agreement[some] = np.nansum(diagnosis.agreement.hits, axis=1)[some] / looked_up[some]
    return {
        **_key(diagnosis, count),
        "token": tokens.names,
        "id": tokens.ids,
        "level": tokens.levels,
        "code": tokens.codes,
        "parent": checkpoint.parents if checkpoint.parents is not None else np.full(count, -1, dtype=np.int64),
        "items": [len(items) for items in checkpoint.carriers] if checkpoint.carriers is not None else [0] * count,
        "place": place,
        "norm": np.linalg.norm(diagnosis.rows.new.astype(np.float64), axis=1),
        "nearest_word": [words[0] for words in diagnosis.words.words],
        "nearest_cosine": diagnosis.words.neighbours.cosines[:, 0],
        "word_agreement": agreement,
    }


def _words(diagnosis: MatrixDiagnosis) -> dict[str, Any]:
    """One row for each new token and each of its nearest words."""
    ids = diagnosis.words.neighbours.ids
    count, k = ids.shape
    hits = diagnosis.agreement.hits if diagnosis.agreement is not None else np.full(ids.shape, np.nan)
    return {
        **_key(diagnosis, count * k),
        "token": np.repeat(diagnosis.checkpoint.rows.tokens.names, k).tolist(),
        "rank": np.tile(np.arange(1, k + 1), count),
        "id": ids.ravel(),
        "word": [word for words in diagnosis.words.words for word in words],
        "cosine": diagnosis.words.neighbours.cosines.ravel(),
        "in_item_texts": hits.ravel(),
    }


def _cosine(diagnosis: MatrixDiagnosis) -> dict[str, Any]:
    """One row for each pair of tokens in the picture of cosines."""
    names, cosines = diagnosis.series.shown, diagnosis.series.cosines
    return {
        **_key(diagnosis, cosines.size),
        "token": np.repeat(names, len(names)).tolist(),
        "other": names * len(names),
        "cosine": cosines.ravel(),
    }
