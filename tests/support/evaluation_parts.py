"""An evaluation that records which users it searches, and that can be killed before a given part."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch

from gti_cli.decoding import search_parts
from gti_cli.decoding.search_parts import Searcher
from gti_cli.evaluation.evaluate import evaluate


def evaluate_counted(workspace: str, interactions: str, options: dict[str, Any], stop: int = -1) -> None:
    """Evaluate in parts of two users, and write down whom this process searches; killed before part ``stop``."""
    search_parts.PROMPTS_PER_PART = 2
    search, done = Searcher.search_part, []

    def counted(self: Searcher, request: search_parts.SearchRequest, part: list[int], batch_size: int) -> Any:
        if len(done) == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(part)
        with Path(workspace, f"searched-{os.environ.get('RANK', '0')}").open("a") as file:
            file.write("".join(f"{number}\n" for number in part))
        return search(self, request, part, batch_size)

    Searcher.search_part = counted  # type: ignore[method-assign]
    torch.set_num_threads(1)
    evaluate(interactions, workspace, **options)
