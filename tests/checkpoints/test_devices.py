from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from gti_cli.checkpoints.devices import (
    _cpu_bfloat16_instructions,
    choose_device,
    choose_dtype,
    choose_training_dtype,
    describe,
    seed_everything,
)
from gti_cli.errors import InputError


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "cuda:x"):
        with pytest.raises(InputError, match="unknown device"):
            choose_device(name)


# Products of 200 shapes, as many batches have them; the megabytes that the process has grown by since the 20th.
MANY_SHAPES = """
import sys, torch
from gti_cli.checkpoints.devices import choose_device
if sys.argv[1] == "chosen":
    choose_device("cpu")
weights = [torch.ones(rows, columns, dtype=torch.bfloat16) for rows, columns in ((256, 256), (1024, 256), (256, 1024))]
inputs = torch.ones(700, 1024, dtype=torch.bfloat16)
for number in range(200):
    for weight in weights:
        torch.nn.functional.linear(inputs[: 500 + number, : weight.shape[1]].contiguous(), weight)
    if number == 20:
        before = int(open("/proc/self/statm").read().split()[1])
print((int(open("/proc/self/statm").read().split()[1]) - before) * 4096 / 2**20)
"""


def grown(choice: str, environment: dict[str, str]) -> float:
    """What a process of `MANY_SHAPES` has grown by, in MiB."""
    line = [sys.executable, "-c", MANY_SHAPES, choice]
    return float(subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or _cpu_bfloat16_instructions() is None, reason="this CPU has no bfloat16 instructions"
)
def test_products_of_many_shapes_do_not_fill_the_memory() -> None:
    clean = {name: text for name, text in os.environ.items() if "CACHE_CAPACITY" not in name}
    assert grown("chosen", clean) < 60 < 2 * 60 < grown("not chosen", clean)
    own = {**clean, "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024", "LRU_CACHE_CAPACITY": "1024"}
    assert grown("chosen", own) > 2 * 60  # the user's own numbers count


def test_absent_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(InputError, match=r"no (CUDA|MPS) device"):
            choose_device(name)


@pytest.fixture(autouse=True)
def attention_as_before() -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_each_torchrun_process_gets_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("cuda") == torch.device("cuda", 3)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # it would make a plan for every shape
    with pytest.raises(InputError, match="no cuda:7"):
        choose_device("cuda:7")


def test_dtypes() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) is torch.float32
    assert choose_dtype("bfloat16", cpu) is torch.bfloat16
    with pytest.raises(InputError, match="unknown dtype"):
        choose_dtype("float8", cpu)


@pytest.mark.parametrize(("threads", "described"), [(1, "cpu (1 thread)"), (2, "cpu (2 threads)")])
def test_devices_are_described(threads: int, described: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert describe(torch.device("cpu")) == described


def test_training_computes_in_bfloat16_where_the_machine_is_fast_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_training_dtype("float32", cpu) == (torch.float32, "asked for")
    with pytest.raises(InputError, match="unknown dtype"):
        choose_training_dtype("half", cpu)
    for amx, avx512, words in ((True, True, "AMX"), (False, True, "AVX-512"), (False, False, "no bfloat16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda value=amx: value, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda value=avx512: value, raising=False)
        found, why = choose_training_dtype("auto", cpu)
        assert words in why and found is (torch.bfloat16 if amx or avx512 else torch.float32)
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda value=supported: value)
        found, _ = choose_training_dtype("auto", torch.device("cuda"))
        assert found is (torch.bfloat16 if supported else torch.float32)
    assert choose_training_dtype("auto", torch.device("mps"))[0] is torch.float32


def test_bfloat16_that_the_cpu_has_to_imitate_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    for machine, instructions, warned in (("x86_64", False, True), ("x86_64", True, False), ("arm64", False, False)):
        monkeypatch.setattr("platform.machine", lambda value=machine: value)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda value=instructions: value, raising=False)
        assert choose_training_dtype("bfloat16", cpu) == (torch.bfloat16, "asked for")
        assert ("no bfloat16 instructions" in capsys.readouterr().err) == warned
        choose_dtype("float32", cpu)
        assert capsys.readouterr().err == ""


def test_seed_makes_draws_repeat() -> None:
    seed_everything(3)
    first = torch.rand(4)
    seed_everything(3)
    assert torch.equal(first, torch.rand(4))
