"""Finds out what a model's architecture allows, by trying it once on a few tokens.

Architectures differ in ways that their configurations do not tell. A trial compares the fast way with the plain one on
a handful of tokens: the fast way is used only where both agree.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import linear

from gti_cli.decoding.hypothesis_caches import BranchTree
from gti_cli.decoding.runner import Abilities, Runner

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class _Trial:
    """What was found out about a model, valid while its head and its state stay the same.

    Attributes:
        head: Weak reference to the output head that was tried.
        state: Number format, device, attention implementation, training mode and autocast of the trial.
        abilities: What the trial found.
    """

    head: weakref.ref[Any]
    state: tuple[Any, ...]
    abilities: Abilities


# A trial takes a few forward passes. It is made once for a model, not once for every batch.
_TRIALS: weakref.WeakKeyDictionary[PreTrainedModel, _Trial] = weakref.WeakKeyDictionary()


def make_runner(model: PreTrainedModel) -> Runner:
    """Try a model out, or look up an earlier trial, and wrap it for the search.

    Args:
        model: A causal LM in evaluation mode, perhaps with peft's adapters around it.

    Returns:
        The runner of the model; of the adapted model inside, where peft is around it.

    Raises:
        InputError: The model takes no key-value cache.
    """
    model = _without_wrapper(model)
    output_head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    state = (
        model.dtype,
        model.device,
        getattr(model.config, "_attn_implementation", None),
        model.training,
        torch.is_autocast_enabled(model.device.type),
    )
    earlier = _TRIALS.get(model)
    if earlier is not None and earlier.head() is output_head and earlier.state == state:
        return Runner(model, earlier.abilities)
    abilities = _try_out(model)
    if output_head is not None:
        _TRIALS[model] = _Trial(weakref.ref(output_head), state, abilities)
    return Runner(model, abilities)


def _try_out(model: PreTrainedModel) -> Abilities:
    with torch.inference_mode():
        split_head = _succeeds(lambda: _head_runs_separately(model))
        linear_head = split_head and _succeeds(lambda: _head_is_linear(model))
        runner = Runner(model, Abilities(split_head, linear_head))
        tree_masks = runner.has_positions and _succeeds(lambda: _follows_tree_masks(runner))
    return Abilities(split_head, linear_head, tree_masks)


def _succeeds(check: Callable[[], bool]) -> bool:
    try:
        return bool(check())
    except Exception:  # Any exception means: not supported.
        return False


def _head_runs_separately(model: PreTrainedModel) -> bool:
    ids = _sample_ids(model, 5)[None]
    hidden = model.base_model(input_ids=ids).last_hidden_state
    logits = Runner(model, Abilities(split_head=True)).logits(hidden)
    return torch.allclose(logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


def _head_is_linear(model: PreTrainedModel) -> bool:
    matrix: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(matrix, torch.nn.Linear):
        return False
    hidden = torch.eye(4, matrix.in_features, device=model.device, dtype=model.dtype)
    return torch.allclose(matrix(hidden), linear(hidden, matrix.weight, matrix.bias))


def _follows_tree_masks(runner: Runner) -> bool:
    """Compare two branches of two tokens in one sequence with the same branches in sequences of their own."""
    from transformers import DynamicCache

    model: Any = runner.model
    ids = _sample_ids(runner.model, 7)
    prompt, first, second = ids[:3], ids[3:5], ids[5:7]
    separate = [model(input_ids=torch.cat([prompt, branch])[None]).logits[0, -1] for branch in (first, second)]
    # What the second branch would get if the mask were ignored: both branches as one history.
    unmasked = model(input_ids=ids[None]).logits[0, -1]
    cache = DynamicCache()
    prompt_mask = torch.ones(1, 3, dtype=torch.long, device=ids.device)
    features = runner(cache, prompt[None], prompt_mask, torch.arange(3, device=ids.device)[None], 1)
    tree = BranchTree(runner, cache, prompt_mask, features)
    for level in range(2):
        tokens = torch.stack([first[level], second[level]])[None]
        parents = torch.tensor([[-1, -1]] if level == 0 else [[0, 1]], device=ids.device)
        features = tree.append(parents, tokens)
    together = runner.logits(features[0])
    # Rounding differs between the two ways; an ignored mask differs by as much as another history does.
    ignored = float((separate[1] - unmasked).abs().max())
    return float((together - torch.stack(separate)).abs().max()) < 0.05 * ignored


def _sample_ids(model: PreTrainedModel, count: int) -> torch.Tensor:
    """Some token ids, spread over the vocabulary."""
    size = int(model.config.get_text_config().vocab_size)
    return (torch.arange(1, count + 1, device=model.device) * 7919) % size


def _without_wrapper(model: PreTrainedModel) -> PreTrainedModel:
    """The model that peft put its layers into: the wrapper's signature hides what the model takes."""
    wrapper: Any = model
    return cast("PreTrainedModel", wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else wrapper)
