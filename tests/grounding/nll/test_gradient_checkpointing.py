"""Gradient checkpointing: the same loss and gradient as without, and fewer tensors kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.gradient_checkpointing import ReadOnlyCache, checkpointed
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import MODELS, NEW_IDS, PAD, examples_of, model_of


def step(model: Any, whole: bool) -> tuple[float, list[torch.Tensor], int]:
    """Loss, gradients, and elements of float tensors that autograd keeps between forward and backward."""
    corpus = divide_examples(*examples_of(16), set(NEW_IDS.tolist()), whole=whole)
    rows = NewRows(model, NEW_IDS)
    trained = GroundingModel(model, rows, corpus.prefixes)
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if tensor.is_floating_point() and tensor.untyped_storage().data_ptr() not in weights:
            kept += tensor.numel()
        return tensor

    with rows.attached(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss, number = trained(**Collator(corpus, PAD)(range(16)))
        before = kept
        (loss / number).backward()
    return float(loss.detach()), [parameter.grad for parameter in trained.parameters()], before


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_the_same_result_with_less_kept(kind: str, tied: bool, whole: bool) -> None:
    loss, gradients, kept = step(model_of(kind, tied), whole)
    model = model_of(kind, tied)
    with checkpointed(model):
        less_loss, less_gradients, less_kept = step(model, whole)
    assert less_loss == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, less_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert less_kept < 0.5 * kept
    assert not any("forward" in vars(module) for module in model.modules())  # nothing stays in the model


def test_the_stage_comes_to_the_same(make_world: Any) -> None:
    options: dict[str, Any] = {
        "max_steps": 12,
        "batch_size": 8,
        "learning_rate": 0.02,
        "device": "cpu",
        "directions": "both",
    }
    for more in ({}, {"lora": True, "unfreeze_steps": 3, "unfreeze_learning_rate": 1e-3}):
        world = make_world(name=f"w{len(more)}")
        expected = ground(world.workspace, **options, **more).metrics
        found = ground(world.workspace, name="less", gradient_checkpointing=True, **options, **more).metrics
        assert found == {name: pytest.approx(value, abs=1e-5) for name, value in expected.items()}


def test_a_prefix_is_read_and_never_extended() -> None:
    keys, values, more = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), torch.randn(1, 2, 1, 4)
    prefix = DynamicCache()
    assert ReadOnlyCache(prefix).update(keys, values, 0) == (keys, values)  # no prefix, so nothing stands before
    prefix.update(keys, values, 0)
    for _ in range(2):
        found = ReadOnlyCache(prefix).update(more, -more, 0)
        assert torch.equal(found[0], torch.cat([keys, more], dim=2))
        assert torch.equal(found[1], torch.cat([values, -more], dim=2))
    assert ReadOnlyCache(prefix).update(more, -more, 1)[0] is more
    assert prefix.get_seq_length() == 3


def test_a_model_without_such_layers() -> None:
    model: Any = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="Linear cannot be trained with --gradient-checkpointing"), checkpointed(model):
        pass


def test_the_option_is_there(make_world: Any) -> None:
    where = ["-w", str(make_world().workspace), "--device", "cpu", "-q"]
    assert gti(["ground", "--gradient-checkpointing", "--max-steps", "2", *where]) == 0
