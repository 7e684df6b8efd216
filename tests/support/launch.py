"""Stages in several processes: by torchrun itself, and quickly, with the variables that torchrun sets."""

from __future__ import annotations

import json
import multiprocessing
import os
import posix
import socket
import subprocess
import sys
import warnings
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

ROOT = Path(__file__).parents[2]
needs_fsdp_on_cpu = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="FSDP 2 of this torch (2.6, say) divides models on GPUs alone"
)
SCRIPT = """
import json, sys
from gti_cli.grounding.ground import ground
ground(sys.argv[1], **json.loads(sys.argv[2]))
"""


def torchrun(workspace: Path, options: dict[str, Any]) -> None:
    """Ground in two processes that torchrun starts."""
    script = workspace.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, str(workspace), json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


class _Copy(ForkProcess):
    """A process that is a copy of this one, with all that it has imported."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        # Not os.fork, which a tool that measures coverage may have replaced: each copy would write what it covered.
        with mock.patch.object(os, "fork", posix.fork), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of threads; the copies use none of them
            return ForkProcess._Popen(process)  # type: ignore[attr-defined]

    def run(self) -> None:
        """Forget that this process has trained alone; then what a process does."""
        if "accelerate" in sys.modules:
            from accelerate.state import AcceleratorState, GradientState

            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
        super().run()


class _Copies(ForkContext):
    Process = _Copy


def preloaded_processes() -> Any:
    """A context whose processes start at once, since they have imported what stages need.

    They are copies of this process. Where there is a GPU, which a copy could not use, they are copies of a process that
    imports the same and does nothing else.
    """
    if "torch" not in sys.modules or not sys.modules["torch"].cuda.is_available():
        return _Copies()
    context = multiprocessing.get_context("forkserver")
    # One list for all tests: the first process that a test worker starts decides what the later ones are copies of.
    stages = ("evaluation.evaluate", "grounding.train", "recommendation.train", "semantic_ids.build")
    context.set_forkserver_preload([*(f"gti_cli.{stage}" for stage in stages), "transformers.models.qwen3"])
    return context


def free_port() -> int:
    """A port on which no other process listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def variables_of_rank(rank: int, port: int) -> dict[str, str]:
    """The environment variables that torchrun sets for one of two processes."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    return {"MASTER_ADDR": "localhost"} | {name: str(value) for name, value in own.items()}


def launch(
    workspace: Path, options: dict[str, Any], stop: int = 0, variables: dict[str, str] | None = None
) -> list[int]:
    """Ground in two processes, with environment ``variables``; the ``stop``-th step of each kills it (0: none).

    Returns:
        training steps that each process made, in the order of ranks; none of one that was killed.
    """
    context, port = preloaded_processes(), free_port()
    results = context.Queue()
    started = [
        context.Process(target=_ground, args=(str(workspace), options, rank, port, stop, results, variables or {}))
        for rank in (0, 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=100)
    assert all(process.exitcode == (1 if stop else 0) for process in started), [p.exitcode for p in started]
    return [] if stop else [steps for _, steps in sorted(results.get(timeout=10) for _ in started)]


def _ground(
    workspace: str,
    options: dict[str, Any],
    rank: int,
    port: int,
    stop: int,
    results: Any,
    variables: dict[str, str],
) -> None:
    os.environ.update({**variables, **variables_of_rank(rank, port)})
    torch.set_num_threads(1)
    from gti_cli.grounding.ground import ground
    from gti_cli.training.callbacks import saving
    from gti_cli.training.trainer import PlannedTrainer

    saving.MAX_TIME_SHARE = float("inf")  # as `conftest.saved_as_planned` has it in the test's own process
    step, calls = PlannedTrainer.training_step, []

    def counted(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == stop:
            os._exit(1)
        return step(self, *args, **more)

    PlannedTrainer.training_step = counted  # type: ignore[method-assign]
    ground(workspace, **options)
    results.put((rank, len(calls)))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
