"""Merge an adapter of PEFT into its base model in memory, so that all stages work with plain weights.

Rows of tokens (``trainable_token_indices``), the adapter's own copies of modules (``modules_to_save``) and adapters on
the embedding are merged, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.checkpoints.adapters.folder import OTHER_BASE, Adapter, peft_errors
from gti_cli.checkpoints.embeddings import Embeddings, concerns_token_rows, find_embeddings
from gti_cli.checkpoints.loading import has_tokenizer, load_model, load_tokenizer, untie_configuration
from gti_cli.checkpoints.new_tokens import find_code_tokens
from gti_cli.errors import InputError, list_some

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

# Relative difference of logits before and after merging that rounding explains, for float32 and for 16-bit formats.
_ROUNDING, _ROUNDING_16_BIT = 1e-3, 0.1
_PROBES = 16  # tokens whose logits are compared

# What was said of adapters, so that one that is loaded several times is mentioned once.
_said: set[str] = set()


def load_merged(adapter: Adapter, base: str, device: torch.device, dtype: torch.dtype | str) -> PreTrainedModel:
    """Load a base model and merge an adapter into it.

    The merged model is tried on a few tokens: its logits must be those of the model with the adapter beside it.

    Args:
        adapter: The adapter.
        base: Folder of its base model, or its name on the hub.
        device: Device to load onto.
        dtype: Number format of the weights (``"auto"``: as the base's are stored).

    Raises:
        InputError: When the base cannot be loaded, adapter and base do not belong together, or the adapter is of a
            kind that cannot be merged.
    """
    import torch
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    if is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]
        raise InputError(
            "an adapter cannot be merged where DeepSpeed ZeRO-3 divides the weights",
            where=str(adapter.folder),
            remedy="write the merged checkpoint first, in one process, with --merge-into NAME",
        )
    model = load_model(base, device, dtype)
    was_tied = _head_weight(model) is _embedding_weight(model)
    height = len(_embedding_weight(model))
    _grow(model, adapter, base)
    _check_tokens(model, adapter, base)
    with peft_errors(adapter.folder, base), torch.no_grad():
        adapted = _attach(model, adapter, base, device)
        probes = torch.linspace(0, len(_embedding_weight(model)) - 1, _PROBES, device=device).long()[None]
        expected = adapted(input_ids=probes).logits.float()
        merged = _merge(adapted, adapter)
        actual = merged(input_ids=probes).logits.float()
    is_tied = _head_weight(merged) is _embedding_weight(merged)
    if was_tied and not is_tied and len(_head_weight(merged)) > height and len(_stored_heights(adapter)) < 2:
        raise InputError(
            f"the adapter changes the input embedding of a tied model, and nothing holds the rows of the output head "
            f"from token id {height} on",
            where=str(adapter.folder),
            remedy=f"{OTHER_BASE}, with the rows that were added to it",
        )
    untie_configuration(merged)
    allowed = _ROUNDING if merged.dtype == torch.float32 else _ROUNDING_16_BIT
    error = float((actual - expected).norm() / expected.norm())
    if not error <= allowed:
        raise InputError(
            f"merged into its base, the adapter gives other logits than beside it (relative difference {error:.2g})",
            where=str(adapter.folder),
            remedy="merge it with the program that trained it, and give that checkpoint",
        )
    merged.requires_grad_(True)  # peft froze the weights; a loaded model trains
    merged.eval()  # type: ignore[no-untyped-call]
    _say(adapter, base, untied=was_tied and not is_tied)
    return merged


def merged_embeddings(adapter: Adapter, base: str) -> Embeddings:
    """Return the matrices with a row for each token, as they are after merging.

    Where the adapter leaves both matrices as they are, they are read from the base's files. Otherwise the model is
    merged in main memory once, and only the two matrices are kept.

    Args:
        adapter: The adapter.
        base: Folder of its base model, or its name on the hub.

    Raises:
        InputError: As `load_merged`.
    """
    if Path(base).is_dir() and not concerns_token_rows(adapter.tensors):
        return find_embeddings(Path(base))
    import torch

    from gti_cli.tensors.loaded_matrix import LoadedMatrix

    model = load_merged(adapter, base, torch.device("cpu"), "auto")
    embedding, head = _embedding_weight(model), _head_weight(model)
    return Embeddings(
        LoadedMatrix("input embedding", adapter.folder, embedding.detach()),
        None if head is embedding else LoadedMatrix("output head", adapter.folder, head.detach()),
    )


def _attach(model: PreTrainedModel, adapter: Adapter, base: str, device: torch.device) -> PeftModel:
    """Put an adapter beside a model's weights, and make sure that all its weights found their place."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(adapter.folder), torch_device=str(device))
    # Loaded once more, because only this call tells what did not fit.
    result = adapted.load_adapter(str(adapter.folder), adapted.active_adapter, torch_device=str(device))
    unexpected = [name for name in result.unexpected_keys if not _is_tied_copy(name, adapter)]
    if strangers := sorted([*unexpected, *result.missing_keys]):
        what = "has weights that its base has no place for" if unexpected else "lacks weights"
        raise InputError(
            f"the adapter {what}: {list_some(strangers)} (base {base})",
            where=str(adapter.folder),
            remedy=OTHER_BASE,
        )
    adapted.eval()
    return adapted


def _is_tied_copy(name: str, adapter: Adapter) -> bool:
    """Return whether a tensor of an adapter repeats the token rows of the matrix that its own is tied to.

    peft stores both where the vocabulary grew, and has a place for one.
    """
    ending = "trainable_tokens_delta"
    rows = {other: place for other, place in adapter.tensors.items() if other.endswith(ending)}
    place = rows.pop(name, None)
    return place is not None and any(
        (other.shape, other.dtype) == (place.shape, place.dtype) and place.holds(other.raw()) for other in rows.values()
    )


def _merge(adapted: PeftModel, adapter: Adapter) -> PreTrainedModel:
    """Merge an adapter; input embedding and output head stay tied only where that changes no number.

    A tied matrix is one and the same memory: whatever is merged into the embedding would also change the head, which
    the adapter may have left as it was. So the two are parted first, and joined again where they come out equal.
    """
    import torch

    plain: Any = adapted.get_base_model()
    embedding, head = _plain_layer(plain.get_input_embeddings()), _plain_layer(plain.get_output_embeddings())
    parted = concerns_token_rows(adapter.tensors) and embedding.weight is head.weight
    if parted:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    merger: Any = adapted
    merged: PreTrainedModel = merger.merge_and_unload()
    if parted and torch.equal(_embedding_weight(merged), _head_weight(merged)):
        merged.get_output_embeddings().weight = _embedding_weight(merged)  # type: ignore[no-untyped-call]
        merged.config.tie_word_embeddings = True
    return merged


def _plain_layer(layer: Any) -> Any:
    """Return the layer of the base model inside those that peft has put around it."""
    inner = getattr(layer, "_modules", {})
    wrapped = inner.get("original_module", inner.get("base_layer"))
    return layer if wrapped is None else _plain_layer(wrapped)


def _grow(model: PreTrainedModel, adapter: Adapter, base: str) -> None:
    """Give a model the rows that its vocabulary had when the adapter was trained, where these are more."""
    height = len(_embedding_weight(model))
    stored = _stored_heights(adapter)
    indices = adapter.token_indices
    needed = max([height, *stored, *(index + 1 for index in indices)])
    if needed == height:
        return
    unknown = sorted(set(range(height, needed)) - indices) if max(stored, default=0) < needed else []
    if unknown:
        raise InputError(
            f"the adapter was trained with {needed:,} rows of tokens, its base has {height:,}, and nothing holds the "
            f"row of token id {unknown[0]}",
            where=str(adapter.folder),
            remedy=f"{OTHER_BASE}, with the rows that were added to it",
        )
    model.resize_token_embeddings(needed, mean_resizing=False)
    if str(adapter.folder) not in _said:
        console.note(f"{adapter.folder}: the adapter adds {needed - height:,} rows of tokens to its base {base}")


def _stored_heights(adapter: Adapter) -> list[int]:
    """Return the number of rows of each whole matrix with a row for each token that an adapter holds."""
    return [
        place.shape[0]
        for name, place in adapter.tensors.items()
        if name.endswith(".weight") and ".lora_" not in name and len(place.shape) == 2 and concerns_token_rows([name])
    ]


def _check_tokens(model: PreTrainedModel, adapter: Adapter, base: str) -> None:
    """Refuse a base without rows for the codes of the adapter's own tokenizer."""
    if not has_tokenizer(adapter.folder):
        return
    codes = find_code_tokens(load_tokenizer(str(adapter.folder)).get_vocab())
    height = len(_embedding_weight(model))
    if codes is not None and codes.ids.max() >= height:
        last = int(codes.ids.argmax())
        raise InputError(
            f"its tokenizer gives {codes.names[last]!r} the id {codes.ids[last]}, and its base {base} has {height:,} "
            "rows of tokens",
            where=str(adapter.folder),
            remedy=OTHER_BASE,
        )


def _embedding_weight(model: Any) -> Any:
    return model.get_input_embeddings().weight


def _head_weight(model: Any) -> Any:
    return model.get_output_embeddings().weight


def _say(adapter: Adapter, base: str, *, untied: bool) -> None:
    """Say once what was merged, and whether embedding and head became two matrices."""
    if str(adapter.folder) in _said:
        return
    _said.add(str(adapter.folder))
    rows = len(adapter.token_indices)
    parts = f"{adapter.kind}{f', rows of {rows:,} tokens' if rows else ''}"
    console.note(f"{adapter.folder}: the adapter ({parts}) was merged with its base {base} in memory")
    if untied:
        console.note(
            f"{adapter.folder}: it changes the input embedding and the output head of a tied model in different ways, "
            "so they are two matrices after merging"
        )
