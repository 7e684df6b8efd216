"""Extend a model that is loaded: where its weights do not lie in safetensors under the names that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.vocabulary.initializers import mean_row
from gti_cli.vocabulary.meaning import AT_USUAL_DISTANCE, Meanings, Placement
from gti_cli.vocabulary.start import Extension, describe_start, start_rows
from gti_cli.vocabulary.tokenizer import grow_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    meanings: Meanings,
    init: str,
    generator: torch.Generator,
    how: Placement = AT_USUAL_DISTANCE,
) -> Extension:
    """Add the tokens to ``tokenizer``, each with a row in the input and, where untied, the output matrix.

    Rows that a padded vocabulary holds in reserve are used before the matrix grows; old rows keep their bits.
    """
    before, size = matrices(model)[0].shape[0], count_used_rows(tokenizer)
    known = [matrix.detach()[:size] for matrix in matrices(model)]
    starts = start_rows(known, meanings, tokenizer, init, generator, how)
    added = grow_tokenizer(tokenizer, meanings.all_names)
    ids = torch.from_numpy(added.ids)
    bias = head_bias(model)
    bias_start = None if bias is None else bias.detach()[:size].double().mean()
    height = max(before, int(ids.max()) + 1)
    if height > before:
        model.resize_token_embeddings(height, mean_resizing=False)
    with torch.no_grad():
        for matrix, start, rows in zip(matrices(model), starts, known, strict=True):
            matrix[before:] = mean_row(rows).to(matrix.dtype)  # old tokens may have lacked a row
            matrix[ids] = start.to(matrix.dtype)
        bias = head_bias(model)
        if bias is not None and bias_start is not None:
            bias[before:] = bias_start.to(bias.dtype)
            bias[ids] = bias_start.to(bias.dtype)
    dtype = matrices(model)[0].dtype
    described = [describe_start(start, rows, dtype) for start, rows in zip(starts, known, strict=True)]
    return Extension(added, described, before, height, dtype, {})


def matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The input embedding matrix (V, d) and, where the head is untied, the output matrix (V, d)."""
    embedding: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    untied = head is not None and head.weight.data_ptr() != embedding.data_ptr()
    return [embedding, head.weight] if untied else [embedding]


def head_bias(model: PreTrainedModel) -> torch.Tensor | None:
    """The head's bias (V,), where it has one."""
    return getattr(model.get_output_embeddings(), "bias", None)  # type: ignore[no-untyped-call]
