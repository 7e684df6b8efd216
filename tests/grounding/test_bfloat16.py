"""A bfloat16 backbone: the rows train in float32, and what is saved of the old weights is what was there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.grounding.ground import ground
from gti_cli.training.trainer import PlannedTrainer

STEPS: dict[str, Any] = {
    "max_steps": 24,
    "directions": "both",
    "batch_size": 8,
    "learning_rate": 0.02,
    "device": "cpu",
    "dtype": "bfloat16",
}


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("phi", False), ("gemma2", True)])
@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16])
def test_bfloat16_backbone_trains_float32_rows(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, kind: str, tied: bool, saved: Any
) -> None:
    seen = []
    step = PlannedTrainer.training_step

    def look(self: Any, model: Any, *args: Any, **more: Any) -> Any:
        seen.append(({p.dtype for p in model.parameters()}, model._model[0].dtype))
        return step(self, model, *args, **more)

    monkeypatch.setattr(PlannedTrainer, "training_step", look)
    world = make_world(kind, tied=tied, dtype=saved)
    manifest = ground(world.workspace, **STEPS)
    assert set(map(str, seen)) == {str(({torch.float32}, torch.bfloat16))}
    assert manifest.metrics["loss_to_tokens"] < manifest.metrics["loss_to_tokens_before"]
    before, after = (load_file(world.workspace / n / "model.safetensors") for n in ("extended", "grounded"))
    old = torch.ones(len(before["model.embed_tokens.weight"]), dtype=torch.bool)
    old[torch.tensor(world.tokens.ids)] = False
    for name, weight in before.items():
        assert after[name].dtype == saved
        rows = old if len(weight) == len(old) else torch.ones(len(weight), dtype=torch.bool)
        assert torch.equal(weight[rows], after[name][rows]), name
        assert rows.all() or not torch.equal(weight[~rows], after[name][~rows]), name
    if saved == torch.float32:  # rows that went through bfloat16 would have no more than 8 bits
        rows_of = after["model.embed_tokens.weight"][~old]
        assert not torch.equal(rows_of, rows_of.bfloat16().float())
