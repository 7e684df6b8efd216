"""Extend a loaded model, for checkpoints whose files are not safetensors or name the tensors in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.vocabulary.initializers.from_pretrained_rows import mean_row
from gti_cli.vocabulary.initializers.placement import AT_USUAL_DISTANCE, Placement
from gti_cli.vocabulary.new_rows import Extension, describe_new_rows, initialize_rows
from gti_cli.vocabulary.tokenizer import grow_tokenizer
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokensToAdd,
    init: str,
    generator: torch.Generator,
    placement: Placement = AT_USUAL_DISTANCE,
) -> Extension:
    """Add tokens to a tokenizer and a model, each with a row in the input and, where untied, the output matrix.

    Unused rows of a padded vocabulary are taken before the matrices grow. Pretrained rows keep their bits.

    Args:
        model: The model, changed in place.
        tokenizer: Its tokenizer, changed in place.
        tokens: The new tokens.
        init: One of `new_rows.INITIALIZERS`.
        generator: Random generator of the initializers that draw.
        placement: Where the initializers from texts and codebooks put their rows.

    Raises:
        InputError: When the initializer lacks what it needs, or a pretrained row is not finite.
    """
    height_before, used_rows = matrices(model)[0].shape[0], count_used_rows(tokenizer)
    pretrained = [matrix.detach()[:used_rows] for matrix in matrices(model)]
    new_rows = initialize_rows(pretrained, tokens, tokenizer, init, generator, placement)
    added = grow_tokenizer(tokenizer, tokens.all_names)
    ids = torch.from_numpy(added.ids)
    bias = head_bias(model)
    mean_bias = None if bias is None else bias.detach()[:used_rows].double().mean()
    height = max(height_before, int(ids.max()) + 1)
    if height > height_before:
        model.resize_token_embeddings(height, mean_resizing=False)
    with torch.no_grad():
        for matrix, new, old in zip(matrices(model), new_rows, pretrained, strict=True):
            # Not every appended row is a new token's: a tokenizer may have had more tokens than the model rows.
            matrix[height_before:] = mean_row(old).to(matrix.dtype)
            matrix[ids] = new.to(matrix.dtype)
        bias = head_bias(model)  # resizing has replaced it
        if bias is not None and mean_bias is not None:
            bias[height_before:] = mean_bias.to(bias.dtype)
            bias[ids] = mean_bias.to(bias.dtype)
    dtype = matrices(model)[0].dtype
    described = [describe_new_rows(new, old, dtype) for new, old in zip(new_rows, pretrained, strict=True)]
    return Extension(added, described, height_before, height, dtype, {})


def matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the input embedding (V, d) and, where it is untied, the output head (V, d)."""
    embedding: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    untied = head is not None and head.weight.data_ptr() != embedding.data_ptr()
    return [embedding, head.weight] if untied else [embedding]


def head_bias(model: PreTrainedModel) -> torch.Tensor | None:
    """Return the bias (V,) of the output head, or None if it has none."""
    return getattr(model.get_output_embeddings(), "bias", None)  # type: ignore[no-untyped-call]
