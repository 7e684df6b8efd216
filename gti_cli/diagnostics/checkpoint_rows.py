"""The rows that a diagnosis reads from a checkpoint folder: new rows and a sample of pretrained rows.

Of a checkpoint they are read from its files, and no model is built. Of an adapter that changes rows, they are those of
the merged matrices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.embeddings import Embeddings, find_embeddings
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.diagnostics.token_selection import Vocabulary, find_new_tokens, pretrained_ids, read_vocabulary
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TokenMatrix


@dataclass(frozen=True)
class CheckpointMatrix:
    """Rows of one matrix of a checkpoint.

    Attributes:
        place: The whole matrix, to read further rows of it.
        new: (n, d) float32. Rows of the new tokens.
        pretrained: (m, d) float32. Rows of the sampled pretrained tokens.
    """

    place: TokenMatrix
    new: npt.NDArray[np.float32]
    pretrained: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CheckpointRows:
    """The rows and tokens of one checkpoint.

    Attributes:
        folder: The checkpoint's folder.
        tokens: The n new tokens, sorted by level and code; tokens that are no codes come last.
        vocabulary: The names of all tokens. None where the folder has no ``tokenizer.json``.
        pretrained: (p,) ids of all pretrained tokens, rising.
        sample: (m,) ids of the pretrained tokens whose rows were read, rising.
        matrices: The rows by matrix: ``input``, and ``output`` unless the output head is tied.
    """

    folder: Path
    tokens: NewTokens
    vocabulary: Vocabulary | None
    pretrained: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    matrices: dict[str, CheckpointMatrix]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that was read: names, ids, rows."""
        digest = hashlib.sha256(json.dumps(self.tokens.names).encode())
        arrays = [self.tokens.ids, self.tokens.levels, self.tokens.codes, self.pretrained, self.sample]
        for name, matrix in self.matrices.items():
            digest.update(name.encode())
            arrays += [matrix.new, matrix.pretrained]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def read_checkpoint(
    folder: Path,
    *,
    embeddings: Embeddings | None = None,
    vocabulary_from: Path | None = None,
    tokens_from: str | None = None,
    base_vocab: int | None = None,
    least_sample: int = 2048,
    seed: int = 0,
    rows_before: int | None = None,
    code_sizes: Sequence[int] | None = None,
) -> CheckpointRows:
    """Read the rows of the new tokens and of a sample of the pretrained tokens.

    Args:
        folder: A Hugging Face checkpoint of a causal language model, with safetensors files.
        embeddings: The matrices. None: they are read from the folder's files.
        vocabulary_from: Folder with the tokenizer. None: ``folder``.
        tokens_from: Which tokens are new, see `token_selection.find_new_tokens`.
        base_vocab: Which tokens are new, see `token_selection.find_new_tokens`.
        least_sample: Number of pretrained rows to sample. It is raised to the number of new tokens where that is
            larger, and lowered to the number of pretrained tokens where that is smaller.
        seed: Seed of the sample.
        rows_before: Number of rows that the matrix had before tokens were added. None: not known.
        code_sizes: Number of codes of each level of the workspace, see `token_selection.find_new_tokens`.

    Raises:
        InputError: When the folder holds no checkpoint, when files are damaged, when new tokens are missing or lie
            outside the matrix, or when a row holds NaN or infinity.
    """
    embeddings = embeddings or find_embeddings(folder)
    height = embeddings.input.shape[0]
    vocabulary = read_vocabulary(vocabulary_from or folder)
    tokens = find_new_tokens(
        folder, vocabulary, height, tokens_from=tokens_from, base_vocab=base_vocab, code_sizes=code_sizes
    )
    before = base_vocab if base_vocab is not None else rows_before
    pretrained = pretrained_ids(tokens, vocabulary, height, before)
    count = min(len(pretrained), max(least_sample, len(tokens.ids)))
    sample = np.sort(np.random.default_rng(seed).choice(pretrained, size=count, replace=False))
    matrices = {}
    for name, place in embeddings.by_name().items():
        rows = CheckpointMatrix(place, place.rows(tokens.ids), place.rows(sample))
        _check_finite(rows.new, [repr(token) for token in tokens.names], place)
        _check_finite(rows.pretrained, [f"id {token}" for token in sample], place)
        matrices[name] = rows
    return CheckpointRows(folder, tokens, vocabulary, pretrained, sample, matrices)


def _check_finite(rows: npt.NDArray[np.float32], names: list[str], place: TokenMatrix) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"the row of token {names[bad[0]]} in {place.name!r} holds NaN or infinity ({len(bad):,} rows do)",
            where=str(place.file),
            remedy="the training that wrote this checkpoint diverged: lower its learning rate",
        )
