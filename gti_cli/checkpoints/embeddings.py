"""Find the matrices of a checkpoint that have a row for each token: its input embedding and its output head.

They are found in the files, by the names that architectures give them. The model is never built.

transformers 5 unties a model whose stored head differs from its embedding, whatever its configuration says. So does
this module: the stored numbers decide, and all commands look at the same matrices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gti_cli import console
from gti_cli.checkpoints.configuration import CONFIG_FILE, read_config
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

if TYPE_CHECKING:
    from gti_cli.tensors.safetensors_rows import TokenMatrix

INPUT, OUTPUT = "input", "output"

# Endings of the tensors' names, the most common first. Llama, Qwen, Mistral, Gemma, Phi, OPT: embed_tokens; GPT-2,
# GPT-J, MPT: wte; GPT-NeoX, Pythia: embed_in; Bloom, Falcon: word_embeddings; InternLM2: tok_embeddings; Mamba, RWKV:
# embeddings.
_INPUTS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "token_embedding", "embeddings")
_OUTPUTS = ("lm_head", "embed_out", "output_layer", "output")
# Parts of a multimodal checkpoint, or of a multi-token-prediction module, that are not the language model's vocabulary.
_NOT_TEXT = re.compile(r"(^|\.)(vision|visual|audio|image|encoder|mtp)")

# Folders of which it was said that their head differs, so that a command that looks twice says it once.
_said: set[str] = set()


@dataclass(frozen=True)
class Embeddings:
    """The matrices with a row for each token.

    Attributes:
        input: The (V, d) input embedding.
        output: The (V, d) output head. None where it is tied to the input embedding.
        rows_not_tied: Number of rows in which a head differs from the embedding although the configuration ties them.
    """

    input: TokenMatrix
    output: TokenMatrix | None
    rows_not_tied: int = 0

    def by_name(self) -> dict[str, TokenMatrix]:
        """The matrices by name: ``input``, and ``output`` unless it is tied."""
        return {INPUT: self.input} if self.output is None else {INPUT: self.input, OUTPUT: self.output}


def find_embeddings(folder: Path) -> Embeddings:
    """Find the input embedding and, unless it is tied, the output head of a checkpoint folder.

    An output head that is stored although the configuration ties it counts where its numbers differ from those of the
    embedding.

    Raises:
        InputError: When there is no such folder, when it holds no checkpoint, or when no tensor has a known name or
            the shape of an input embedding.
    """
    embedding, head, tied = _find(folder)
    if head is None or tied is False:
        return Embeddings(embedding, head)
    differing = _differing_rows(embedding, head)
    return Embeddings(embedding, head if differing else None, differing if tied else 0)


def say_if_not_tied(folder: Path) -> int:
    """Warn where a checkpoint stores a head that differs from the embedding although its configuration ties them.

    Args:
        folder: The checkpoint. One whose matrices cannot be found here is left to whoever reads it.

    Returns:
        The number of rows in which the two differ.
    """
    try:
        rows = find_embeddings(folder).rows_not_tied
    except InputError:
        return 0
    if rows and str(folder) not in _said:
        _said.add(str(folder))
        console.warn(
            f"{folder}: {CONFIG_FILE} ties the output head to the embedding, but the files store another head "
            f"({rows:,} rows differ). The stored head is used, as transformers 5 does; older versions ignore it. "
            f'Write "tie_word_embeddings": false into {CONFIG_FILE} if the head is meant, or delete the head'
        )
    return rows


def concerns_token_rows(names: Iterable[str]) -> bool:
    """Return whether any of these tensors of an adapter belongs to an input embedding or an output head."""
    modules = {*_INPUTS, *_OUTPUTS}
    return any(modules & set(name.split(".")) for name in names)


def _find(folder: Path) -> tuple[TensorPlace, TensorPlace | None, bool | None]:
    """Find the embedding, the head if one is stored, and whether the configuration ties the two (None: no word)."""
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
            remedy="is this a causal language model?",
        )
    embedding = named[0]
    heads = [place for place in _by_ending(matrices, _OUTPUTS, embedding.shape[0]) if place.shape == embedding.shape]
    return embedding, heads[0] if heads else None, config.get("tie_word_embeddings", text.get("tie_word_embeddings"))


def _by_ending(places: list[TensorPlace], endings: tuple[str, ...], height: int | None) -> list[TensorPlace]:
    """The tensors named ``….ENDING.weight``: those with ``height`` rows first, then by ending, then by name length."""
    ranked = [
        (place.shape[0] != height, rank, len(place.name), place.name, place)
        for place in places
        for rank, ending in enumerate(endings)
        if re.search(rf"(^|\.){ending}\.weight$", place.name)
    ]
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])]


def _differing_rows(first: TensorPlace, second: TensorPlace) -> int:
    """Count the rows in which two matrices (V, d) differ, reading both by blocks."""
    ids = np.arange(first.shape[0])
    pairs = zip(first.blocks(ids), second.blocks(ids), strict=True)
    return sum(int((one != other).any(axis=1).sum()) for (_, one), (_, other) in pairs)
