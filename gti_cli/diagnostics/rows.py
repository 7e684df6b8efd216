"""The rows that a diagnosis needs out of a checkpoint folder: new rows and a sample of pretrained rows.

Finds the input embedding, and the output head where it is a matrix of its own, by the names that architectures use; the
model is never built.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.diagnostics.token_selection import Vocabulary, find_new_tokens, pretrained_ids, read_vocabulary
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

INPUT, OUTPUT = "input", "output"

# Endings of the names, most usual first. Llama, Qwen, Mistral, Gemma, Phi, OPT: embed_tokens; GPT-2, GPT-J, MPT: wte;
# GPT-NeoX, Pythia: embed_in; Bloom, Falcon: word_embeddings; InternLM2: tok_embeddings; Mamba, RWKV: embeddings.
_INPUTS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "token_embedding", "embeddings")
_OUTPUTS = ("lm_head", "embed_out", "output_layer", "output")
_NOT_TEXT = re.compile(r"(^|\.)(vision|visual|audio|image|encoder|mtp)")


@dataclass(frozen=True)
class Embeddings:
    """The places of a checkpoint's matrices over its vocabulary.

    Attributes:
        input: the (V, d) input embedding. output: the (V, d) output head, None where it is the same matrix.
    """

    input: TensorPlace
    output: TensorPlace | None

    def parts(self) -> dict[str, TensorPlace]:
        """By name: ``input``, and ``output`` where it is apart."""
        return {INPUT: self.input} if self.output is None else {INPUT: self.input, OUTPUT: self.output}


@dataclass(frozen=True)
class Part:
    """Rows of one matrix of a checkpoint.

    Attributes:
        place: the whole matrix, for reading more. new: (n, d) float32, rows of the new tokens.
        pretrained: (m, d) float32, rows of the sampled pretrained tokens.
    """

    place: TensorPlace
    new: npt.NDArray[np.float32]
    pretrained: npt.NDArray[np.float32]


@dataclass(frozen=True)
class CheckpointRows:
    """What a diagnosis reads of one checkpoint.

    Attributes:
        folder: where it lies. tokens: the n new tokens, in order of level and code where they have any.
        vocabulary: names of all tokens (None: the folder has no tokenizer.json).
        pretrained: (p,) ids of all tokens that are not new. sample: (m,) those of them whose rows were read.
        parts: ``input``, and ``output`` where the head is a matrix of its own.
    """

    folder: Path
    tokens: NewTokens
    vocabulary: Vocabulary | None
    pretrained: npt.NDArray[np.int64]
    sample: npt.NDArray[np.int64]
    parts: dict[str, Part]

    @property
    def digest(self) -> str:
        """SHA-256 over everything read: names, ids, rows."""
        digest = hashlib.sha256(json.dumps(self.tokens.names).encode())
        arrays = [self.tokens.ids, self.tokens.levels, self.tokens.codes, self.pretrained, self.sample]
        for name, part in self.parts.items():
            digest.update(name.encode())
            arrays += [part.new, part.pretrained]
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
) -> CheckpointRows:
    """Read the rows of the new tokens and of a sample of the pretrained ones.

    Args:
        folder: a Hugging Face causal-LM checkpoint with safetensors.
        tokens_from, base_vocab: which tokens are new, see `new_tokens.find_new_tokens`.
        least_sample: pretrained rows to sample: this many, or as many as there are new ones if that is more.
        seed: of the sample.
        rows_before: rows that the matrix had before tokens were added, where known.

    Raises:
        InputError: no checkpoint, damaged files, no new tokens, ids outside the matrix, NaN in a row.
    """
    embeddings = find_embeddings(folder)
    height = embeddings.input.shape[0]
    vocabulary = read_vocabulary(folder)
    tokens = find_new_tokens(folder, vocabulary, height, tokens_from=tokens_from, base_vocab=base_vocab)
    before = base_vocab if base_vocab is not None else rows_before
    pretrained = pretrained_ids(tokens, vocabulary, height, before)
    count = min(len(pretrained), max(least_sample, len(tokens.ids)))
    sample = np.sort(np.random.default_rng(seed).choice(pretrained, size=count, replace=False))
    parts = {}
    for name, place in embeddings.parts().items():
        part = Part(place, place.rows(tokens.ids), place.rows(sample))
        _check_finite(part.new, [repr(token) for token in tokens.names], place)
        _check_finite(part.pretrained, [f"id {token}" for token in sample], place)
        parts[name] = part
    return CheckpointRows(folder, tokens, vocabulary, pretrained, sample, parts)


def _check_finite(rows: npt.NDArray[np.float32], names: list[str], place: TensorPlace) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"the row of token {names[bad[0]]} in {place.name!r} holds NaN or infinity ({len(bad):,} rows do)",
            where=str(place.file),
            remedy="the training that wrote this checkpoint diverged: lower its learning rate",
        )


def find_embeddings(folder: Path) -> Embeddings:
    """Find the input embedding and, where it is apart, the output head of a checkpoint folder.

    A head that is stored although the configuration ties it counts as tied, as transformers loads it.

    Raises:
        InputError: no such folder, no checkpoint, no embedding by any usual name or by its shape.
    """
    config = read_config(folder)
    tensors = read_tensors(folder)
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    vocab_size, width = text.get("vocab_size"), text.get("hidden_size", text.get("n_embd", text.get("d_model")))
    matrices = [place for place in tensors.values() if len(place.shape) == 2 and not _NOT_TEXT.search(place.name)]
    named = _by_ending(matrices, _INPUTS, vocab_size)
    if not named:
        other = {place.name for place in _by_ending(matrices, _OUTPUTS, vocab_size)}
        named = [place for place in matrices if place.shape == (vocab_size, width) and place.name not in other]
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
    """Those named ``….ENDING.weight``: the right height first, then the more usual ending, then the shorter name."""
    found = [
        (place.shape[0] != height, rank, len(place.name), place.name, place)
        for place in places
        for rank, ending in enumerate(endings)
        if re.search(rf"(^|\.){ending}\.weight$", place.name)
    ]
    return [entry[-1] for entry in sorted(found, key=lambda entry: entry[:-1])]


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's ``config.json``.

    Raises:
        InputError: no such folder, or no readable configuration in it.
    """
    if not folder.exists():
        raise InputError("no such folder", where=str(folder), remedy="check the path")
    if not folder.is_dir():
        raise InputError("this is a file, not a checkpoint folder", where=str(folder))
    path = folder / "config.json"
    if not path.is_file():
        raise InputError("no config.json: this folder is no Hugging Face checkpoint", where=str(folder))
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise InputError("cannot be read as JSON", where=str(path), remedy="write the checkpoint again") from cause
    if not isinstance(config, dict):
        raise InputError("holds no JSON object", where=str(path), remedy="write the checkpoint again")
    return config
