"""What a fine-tuning run came to: losses, counts by task, and rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gti_cli.training.batches.mixture import MixedPlan
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from gti_cli.training.trainer import PlannedTrainer


def report(trainer: PlannedTrainer, plan: MixedPlan, run: StageRun, first_step: int) -> None:
    """Losses and counts of the whole run; rates of what was run now, from ``first_step`` on."""
    from gti_cli.training.callbacks.validation import history

    log = trainer.state.log_history
    losses = [entry["loss"] for entry in log if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    run.metrics["train_loss"] = sum(last) / len(last)
    steps = trainer.state.global_step  # fewer than planned after an early stop
    run.counts.update(
        {
            "steps": steps,
            "steps_planned": len(plan),
            "targets_seen": sum(plan.targets[:steps]),
            "tokens_seen": sum(plan.tokens[:steps]),
        }
    )
    run.metrics["epochs"] = plan.epochs * run.counts["targets_seen"] / sum(plan.targets)
    passes = plan.passes(steps)
    run.metrics["tasks"] = {
        name: {"targets": size, "targets_seen": sum(plan.by_task[name][:steps]), "passes": passes[name]}
        for name, size in plan.sizes.items()
    }
    if found := history(trainer.state):
        best_step, best = max(found, key=lambda entry: entry[1])
        run.metrics["valid_ndcg@10"] = best
        run.metrics["valid_ndcg@10_by_step"] = [[step, value] for step, value in found]
        run.counts.update({"best_step": best_step, "validations": len(found)})
    seconds = next((entry["train_runtime"] for entry in reversed(log) if "train_runtime" in entry), 0.0)
    if seconds and first_step < steps:
        run.measured["train_seconds"] = seconds
        run.measured["tokens_per_second"] = sum(plan.tokens[first_step:steps]) / seconds
        run.measured["targets_per_second"] = sum(plan.targets[first_step:steps]) / seconds
