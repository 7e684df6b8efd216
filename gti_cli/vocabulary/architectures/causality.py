"""Test that a model does not see the future: a later token must not change the logits before it.

A model that sees later tokens (BERT and its like, or a decoder configured with attention to both sides) trains with the
answer in view, and cannot write one. Whether a model does is decided by its class and by flags of its configuration
that differ between architectures, so it is tried out and not looked up.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.errors import InputError
from gti_cli.vocabulary.architectures.kinds import REMEDY, is_masked_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_LENGTH, _CHANGED = 8, 5  # tokens of the trial, and the place of the one that is changed
_VOCABULARY = 64
_MOST_LAYERS = 4
# A trial with the true widths is made only of models with at most this many weights (in a few layers).
_MOST_WEIGHTS = 50_000_000
# The most that sizes are set to, by the names that architectures have for them.
_SMALL = {
    "intermediate_size": 64, "ffn_dim": 64, "n_inner": 64, "ffn_hidden_size": 64, "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64, "q_lora_rank": 16, "kv_lora_rank": 16, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "vocab_size_per_layer_input": _VOCABULARY,
}  # fmt: skip
# Flags that let attention look to both sides, with the values that do.
_FLAGS = (("is_causal", False), ("causal", False), ("use_bidirectional_attention", None), ("bidirectional", True))


def check_causal(config: PreTrainedConfig, where: str) -> bool:
    """Try out a tiny random model of the same class with the same flags.

    Which tokens a token attends to is a matter of the architecture and its flags, not of its weights: a leak shows in a
    random model of two layers as well as in the true one, and no weights have to be loaded.

    Args:
        config: The model's configuration; it is not changed.
        where: Name of the model, for the error line.

    Returns:
        Whether the trial was possible. It is not where an architecture fits no small sizes; test the loaded model then.

    Raises:
        InputError: When an earlier logit changes with a later token.
    """
    for shrink in (_shrunk, _shallow):
        try:
            model = _random_model(shrink(config))
            effect = _effect_on_earlier(model, _VOCABULARY)
        except Exception:  # noqa: S112 # nosec B112 - any exception means: there is no model of these sizes
            continue
        if effect is not None:
            _refuse_leak(effect, 1e-3, config, where)
            return True
    return False


def check_model_causal(model: PreTrainedModel, where: str) -> None:
    """Try out a loaded model.

    Args:
        model: The model, in evaluation mode.
        where: Its name, for the error line.

    Raises:
        InputError: When an earlier logit changes with a later token.
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    effect = _effect_on_earlier(model, vocabulary)
    if effect is not None:
        # A mixture of experts may round earlier tokens differently when later ones go to other experts.
        _refuse_leak(effect, 1e-3 if model.dtype == torch.float32 else 0.05, model.config, where)


def _refuse_leak(effect: float, most: float, config: PreTrainedConfig, where: str) -> None:
    if effect <= most:
        return
    flags = [f"{name}: {getattr(config, name)}" for name, value in _FLAGS if _is_set(config, name, value)]
    if is_masked_model(config.model_type) and not getattr(config, "is_decoder", False):
        flags.append("is_decoder: False")
    said = f" ({', '.join(flags)} in its configuration)" if flags else ""
    raise InputError(
        f"{config.model_type} as it is configured sees later tokens{said}: it would train with the answer in view",
        where=where,
        remedy=REMEDY,
    )


def _is_set(config: PreTrainedConfig, name: str, value: bool | None) -> bool:
    """Return whether a flag is there with ``value`` (None: with any value that is true)."""
    missing = object()
    found = getattr(config, name, missing)
    return bool(found is not missing and found) if value is None else found is value


@torch.no_grad()
def _effect_on_earlier(model: PreTrainedModel, vocabulary: int) -> float | None:
    """Change one token, and return the largest change of a logit before it in units of the largest one from it on.

    Returns:
        0 for a causal model; None where the model gives no usable logits.
    """
    ids = (torch.arange(1, _LENGTH + 1) * 7919) % (vocabulary - 4) + 4  # the first ids are often special
    changed = ids.clone()
    changed[_CHANGED] = 4 + (ids[_CHANGED] - 3) % (vocabulary - 4)
    runner: Any = model
    # One after the other and not as one batch, so that both have exactly the same shapes and kernels.
    before, after = (
        runner(input_ids=one[None].to(model.device), use_cache=False).logits[0].float() for one in (ids, changed)
    )
    difference = (before - after).abs().amax(-1)
    later = float(difference[_CHANGED:].max())
    if not torch.isfinite(difference).all() or later == 0:
        return None
    return float(difference[:_CHANGED].max()) / later


def _random_model(config: Any) -> PreTrainedModel:
    """Build a model on the CPU whose weights are wide enough that every path through it counts."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        empty: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    if sum(weight.numel() for weight in empty.parameters()) > _MOST_WEIGHTS:
        raise ValueError("too large for a trial")
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight in model.parameters():
                # Fresh models may have gates that are zero, and so hide what lies behind them.
                noise = torch.randn_like(weight)
                weight.copy_(noise * weight.shape[-1] ** -0.5 if weight.dim() > 1 else weight + 0.1 * noise)
    found: PreTrainedModel = model.eval()
    return found


def _shallow(config: PreTrainedConfig) -> Any:
    """Copy a configuration with few layers, one of each type, and a small vocabulary."""
    small: Any = copy.deepcopy(config)
    small._experts_implementation = "eager"  # the grouped products of experts need widths of certain sizes
    count = int(small.num_hidden_layers)
    types = getattr(small, "layer_types", None)
    kept = sorted({str(kind): layer for layer, kind in reversed(list(enumerate(types or [])))}.values())
    kept = (kept + [layer for layer in range(count) if layer not in kept])[: max(2, min(len(kept), _MOST_LAYERS))]
    kept.sort()
    # Each list with one entry for a layer (types of attention, of positions, of experts) keeps those of these layers.
    for name, value in list(vars(small).items()):
        if isinstance(value, list) and len(value) == count and not name.startswith("_"):
            setattr(small, name, [value[layer] for layer in kept])
    small.num_hidden_layers = len(kept)
    small.vocab_size = _VOCABULARY
    for number, name in enumerate(("pad_token_id", "bos_token_id", "eos_token_id")):
        if getattr(small, name, None) is not None:
            setattr(small, name, number)
    return small


def _shrunk(config: PreTrainedConfig) -> Any:
    """Copy a configuration with few layers, few heads and small widths; the width of a head stays."""
    small = _shallow(config)
    heads, width = int(small.num_attention_heads), int(small.hidden_size)
    head_width = int(getattr(small, "head_dim", None) or width // heads)
    groups = getattr(small, "num_key_value_heads", None)
    small.num_attention_heads = 2
    if groups is not None:
        small.num_key_value_heads = 2 if groups == heads else 1
    small.hidden_size = 2 * head_width
    for name in ("word_embed_proj_dim", "embedding_size"):
        if getattr(small, name, None) is not None:
            setattr(small, name, 2 * head_width)
    for name, size in _SMALL.items():
        if isinstance(old := getattr(small, name, None), int):
            setattr(small, name, min(old, size))
    return small
