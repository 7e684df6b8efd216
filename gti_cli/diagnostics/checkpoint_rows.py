"""The rows that a diagnosis reads from a checkpoint folder: new rows and a sample of pretrained rows.

The input embedding, and the output head where the two are not tied, are found by the tensor names that architectures
use. The model is never built.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.configuration import read_config
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.diagnostics.token_selection import Vocabulary, find_new_tokens, pretrained_ids, read_vocabulary
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

INPUT, OUTPUT = "input", "output"

# Endings of the tensors' names, the most common first. Llama, Qwen, Mistral, Gemma, Phi, OPT: embed_tokens; GPT-2,
# GPT-J, MPT: wte; GPT-NeoX, Pythia: embed_in; Bloom, Falcon: word_embeddings; InternLM2: tok_embeddings; Mamba, RWKV:
# embeddings.
_INPUTS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "token_embedding", "embeddings")
_OUTPUTS = ("lm_head", "embed_out", "output_layer", "output")
# Parts of a multimodal checkpoint, or of a multi-token-prediction module, that are not the language model's vocabulary.
_NOT_TEXT = re.compile(r"(^|\.)(vision|visual|audio|image|encoder|mtp)")


@dataclass(frozen=True)
class Embeddings:
    """Where the matrices with a row for each token lie in a checkpoint's files.

    Attributes:
        input: The (V, d) input embedding.
        output: The (V, d) output head. None where it is tied to the input embedding.
    """

    input: TensorPlace
    output: TensorPlace | None

    def by_name(self) -> dict[str, TensorPlace]:
        """The matrices by name: ``input``, and ``output`` unless it is tied."""
        return {INPUT: self.input} if self.output is None else {INPUT: self.input, OUTPUT: self.output}


@dataclass(frozen=True)
class CheckpointMatrix:
    """Rows of one matrix of a checkpoint.

    Attributes:
        place: Where the whole matrix lies, to read further rows of it.
        new: (n, d) float32. Rows of the new tokens.
        pretrained: (m, d) float32. Rows of the sampled pretrained tokens.
    """

    place: TensorPlace
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
    embeddings = find_embeddings(folder)
    height = embeddings.input.shape[0]
    vocabulary = read_vocabulary(folder)
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


def _check_finite(rows: npt.NDArray[np.float32], names: list[str], place: TensorPlace) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"the row of token {names[bad[0]]} in {place.name!r} holds NaN or infinity ({len(bad):,} rows do)",
            where=str(place.file),
            remedy="the training that wrote this checkpoint diverged: lower its learning rate",
        )


def find_embeddings(folder: Path) -> Embeddings:
    """Find the input embedding and, unless it is tied, the output head of a checkpoint folder.

    An output head that is stored although the configuration ties it is ignored, as transformers does.

    Raises:
        InputError: When there is no such folder, when it holds no checkpoint, or when no tensor has a known name or
            the shape of an input embedding.
    """
    config = read_config(folder)
    tensors = read_tensors(folder)
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    vocab_size, width = text.get("vocab_size"), text.get("hidden_size", text.get("n_embd", text.get("d_model")))
    matrices = [place for place in tensors.values() if len(place.shape) == 2 and not _NOT_TEXT.search(place.name)]
    named = _by_ending(matrices, _INPUTS, vocab_size)
    if not named:
        # The name is unknown. The shape decides; the output head has the same shape, so it is excluded by its name.
        head_names = {place.name for place in _by_ending(matrices, _OUTPUTS, vocab_size)}
        named = [place for place in matrices if place.shape == (vocab_size, width) and place.name not in head_names]
    if not named:
        raise InputError(
            "no input embedding found (looked for " + ", ".join(f"*.{name}.weight" for name in _INPUTS) + ")",
            where=str(folder),
            remedy="is this a causal language model? Adapters (LoRA) must be merged into their model first",
        )
    embedding = named[0]
    heads = [place for place in _by_ending(matrices, _OUTPUTS, embedding.shape[0]) if place.shape == embedding.shape]
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    return Embeddings(embedding, heads[0] if heads and not tied else None)


def _by_ending(places: list[TensorPlace], endings: tuple[str, ...], height: int | None) -> list[TensorPlace]:
    """The tensors named ``….ENDING.weight``: those with ``height`` rows first, then by ending, then by name length."""
    ranked = [
        (place.shape[0] != height, rank, len(place.name), place.name, place)
        for place in places
        for rank, ending in enumerate(endings)
        if re.search(rf"(^|\.){ending}\.weight$", place.name)
    ]
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])]
