"""Fine-tuning a compiled model: through torch's own tracing, short of generating code (which takes minutes)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gti_cli.recommendation.finetune import finetune


def test_trains_like_the_model_as_written(make_world: Any, monkeypatch: Any) -> None:
    world = make_world()
    # All targets in every step: one shape, traced once.
    options: dict[str, Any] = {"max_steps": 2, "batch_size": 10_000, "learning_rate": 3e-3, "validations": 1}
    options |= {"device": "cpu", "dtype": "float32", "wordings": 1}
    plain = finetune(world.interactions, world.workspace, name="plain", **options)
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **more: real(self, backend="eager", **more))
    found = finetune(world.interactions, world.workspace, name="compiled", compile=True, **options)
    assert found.details["compiled"] == "yes" and found.options["compile"]
    for metric in ("train_loss", "valid_loss", "new_rows_moved", "valid_ndcg@10"):
        assert found.metrics[metric] == pytest.approx(plain.metrics[metric], rel=1e-4)
