"""What the parts of `gpu.sh` share: the device, the shape of the model, the clock, memory, and a row of the result."""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CODES = 1024  # new tokens: 4 levels of 256 codes

# Qwen3-0.6B, and a model that a CPU trains in seconds.
QWEN3 = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


@dataclass(frozen=True)
class Setting:
    """How a part runs.

    Attributes:
        device: Where everything is computed.
        tiny: Small models and little work, to see that the way is free.
    """

    device: torch.device
    tiny: bool

    @property
    def vocabulary(self) -> int:
        """Tokens of the pretrained model."""
        return 2048 if self.tiny else 151_936

    def pick(self, usual: int, tiny: int) -> int:
        """An amount of work."""
        return tiny if self.tiny else usual

    def model(self, dtype: torch.dtype) -> Any:
        """A random model with rows for the codes, the same at every call."""
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(0)
        config = AutoConfig.for_model(
            "qwen3",
            vocab_size=self.vocabulary + CODES,
            tie_word_embeddings=True,
            max_position_embeddings=2048,
            **(TINY if self.tiny else QWEN3),
        )
        with self.device:
            return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()

    @property
    def dtype(self) -> torch.dtype:
        """Number format of a model that does not train as a whole."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def now(self) -> float:
        """Seconds: of the wall once the GPU is done, or of the processor."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def seconds(self, step: Callable[[], Any], times: int, warm_up: int = 1) -> float:
        """Seconds of a step: the mean of ``times``, after ``warm_up`` that do not count."""
        for _ in range(warm_up):
            step()
        started = self.now()
        for _ in range(times):
            step()
        return (self.now() - started) / times

    def reset_peak(self) -> float:
        """Free what nobody holds, begin to measure the peak; returns the bytes that are held."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            return float(torch.cuda.memory_allocated(self.device))
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")

    def peak(self) -> float:
        """Most bytes held since `reset_peak`."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        return _status("VmHWM")

    def product_rate(self) -> float:
        """Operations a second in a large matrix product: bfloat16 on a GPU, float32 on a CPU. Best of five."""
        size = 8192 if self.device.type == "cuda" else 512
        a = torch.randn(size, size, device=self.device, dtype=self.dtype)
        return 2 * size**3 / min(self.seconds(lambda: a @ a, 5) for _ in range(5))


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def read_setting() -> Setting:
    """The setting of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    return Setting(torch.device(options.device), options.tiny)


def row(part: str, what: str, **figures: float | str) -> None:
    """Print a row of the result at once, so that it stays if the part runs out of time."""
    print(json.dumps({"part": part, "what": what, **figures}), flush=True)
