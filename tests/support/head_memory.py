"""Peak memory of the loss, measured in a process of its own. Imports little: the process starts with this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from gti_cli.grounding.nll.head_loss import LogitRule, head_loss


def high_water() -> int:
    """Most bytes that this process has held; not `ru_maxrss`, which a child begins with its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def measure_peak(way: str, results: Any) -> None:
    """Bytes above what was held before, for 512 positions and 131,072 words (256 MiB of float32 logits)."""
    torch.set_num_threads(1)
    vocabulary, positions = 131_072, 512
    weight = torch.zeros(vocabulary, 8)
    hidden = torch.randn(positions, 8).requires_grad_(True)
    targets = torch.randint(vocabulary, (positions,))
    before = high_water()
    if way == "plain":
        functional.cross_entropy(hidden @ weight.T, targets, reduction="sum").backward()
    else:
        head = torch.nn.Linear(8, vocabulary, bias=False)
        head.weight = torch.nn.Parameter(weight, requires_grad=False)
        rows: Any = type("Rows", (), {"head": head, "output": None, "bias": None, "ids": torch.arange(10)})()
        rows.embedding = torch.zeros(10, 8, requires_grad=True)
        head_loss(hidden, rows, targets, LogitRule())[0].backward()
    results.put(high_water() - before)
