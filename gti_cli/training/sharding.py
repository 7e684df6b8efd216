"""A frozen model under launcher configurations that shard weights: FSDP, and DeepSpeed ZeRO-3.

What trains beside a frozen model is small, and so is its optimiser state: there is nothing in them to shard. What fills
the memory is the model. Its decoder layers are divided among the processes by torch's own FSDP2 (`fully_shard`): each
process holds its part of every layer, a layer is put together for the time in which it computes, forwards and
backwards, and dissolved again. Embedding, head and final norm stay whole on every process, as their rows are looked up
and written one by one. What trains is averaged over the processes as in plain data parallelism, so accelerate is not to
know of the configuration (`plain_launch`): it would shard, and then save, the parameters that train.

ZeRO-3 divides weights in the same manner. Under a DeepSpeed configuration of stage 3 that is what happens, by the same
means and without DeepSpeed's engine, which has nothing to do where the weights are frozen; stages 0 to 2 leave weights
whole, and so do we.

Putting a layer together needs all processes. So all of them must run the model equally often, whatever their share of
the work is: those that have none compute something that does not count (`in_step` in `grounding`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.workspace import processes

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

_FSDP, _DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
_HIDDEN = (_FSDP, _DEEPSPEED, "FSDP_CPU_RAM_EFFICIENT_LOADING")
_STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")  # accelerate: from 1


@dataclass(frozen=True)
class Sharding:
    """How the layers of a frozen model are divided.

    Attributes:
        name: of the configuration, for people. reshard: dissolve a layer after its forward pass and put it together
            again for its backward pass (else it stays whole until then).
    """

    name: str
    reshard: bool = True


def asked_for() -> Sharding | None:
    """The sharding that the launcher's variables ask for; None for none, also where there is one process only.

    Raises:
        InputError: a configuration that cannot be read.
    """
    if _set(_FSDP):
        found = _fsdp()
    elif _set(_DEEPSPEED):
        found = _zero()
    else:
        return None
    if found is not None and processes.world() == 1:
        console.note(f"{found.name}: there is one process, so the model stays whole")
        return None
    return found


def _set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def _fsdp() -> Sharding | None:
    if _set("FSDP_OFFLOAD_PARAMS"):
        console.warn("FSDP: the parts of the frozen model are not offloaded; they stay where it computes")
    again = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").upper()
    if os.environ.get("FSDP_VERSION", "1") == "2":
        return Sharding("FSDP", again not in ("FALSE", "0"))
    strategy = os.environ.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD").upper()
    if strategy.isdigit() and 1 <= int(strategy) <= len(_STRATEGIES):
        strategy = _STRATEGIES[int(strategy) - 1]
    if strategy not in _STRATEGIES:
        raise InputError(f"FSDP_SHARDING_STRATEGY is {strategy!r}", remedy=f"use one of {', '.join(_STRATEGIES)}")
    if strategy == "NO_SHARD":
        console.note("FSDP NO_SHARD: every process keeps the frozen model whole")
        return None
    if strategy.startswith("HYBRID"):
        console.warn(f"FSDP {strategy}: the layers are divided among all processes, not within each machine")
    return Sharding("FSDP", strategy in ("FULL_SHARD", "HYBRID_SHARD"))


def _zero() -> Sharding | None:
    stage: Any = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if file and file.lower() != "none":
        try:
            stage = json.loads(Path(file).read_text("utf-8")).get("zero_optimization", {}).get("stage", 0)
        except (OSError, ValueError, AttributeError) as cause:
            raise InputError(
                "DeepSpeed's configuration cannot be read", where=file, remedy="give a JSON file"
            ) from cause
    if str(stage) not in ("0", "1", "2", "3"):
        raise InputError(f"DeepSpeed's ZeRO stage is {stage!r}", remedy="use 0, 1, 2 or 3")
    if str(stage) != "3":
        console.note(f"DeepSpeed ZeRO-{stage} divides no weights: every process keeps the frozen model whole")
        return None
    if os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "none").lower() not in ("none", ""):
        console.warn("ZeRO-3: the parts of the frozen model are not offloaded; they stay where it computes")
    return Sharding("DeepSpeed ZeRO-3 (divided in its manner by torch's FSDP2; its engine is not used)")


@contextmanager
def plain_launch() -> Iterator[None]:
    """Within the block accelerate and transformers see plain data parallelism, whatever the launcher is set to."""
    hidden = {name: os.environ.pop(name) for name in _HIDDEN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def load_sharded(path: str, device: torch.device, dtype: torch.dtype, how: Sharding) -> PreTrainedModel:
    """Load a causal LM, frozen, with its decoder layers divided among the processes of this launch.

    The processes of a machine load one after another, and a device never holds more than one layer that is whole: at
    any time one process of a machine has the whole model in its main memory, the others their parts.

    Raises:
        InputError: see `training.checkpoints.load_model`; a model that does not name its layers.
    """
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]
    from torch.distributed.device_mesh import DeviceMesh

    from gti_cli.checkpoints.loading import load_model

    _give_back_from(1 << 20)
    PartialState(cpu=device.type == "cpu")  # opens the process group as the Trainer will do it
    # A group of its own: the order in which layers are gathered and trained parameters averaged cannot matter.
    mesh = DeviceMesh.from_group(torch.distributed.new_group(), device.type)
    for turn in range(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
        if turn == int(os.environ.get("LOCAL_RANK", "0")):
            model = load_model(path, torch.device("cpu"), dtype)
            layers = divide(model, mesh, device, how)
        torch.distributed.barrier()
    _give_back_from(1 << 23)  # whole layers still are; smaller ones every time would cost training time
    for layer in layers:
        # Once outside of inference mode: tensors that are made within it can never take part in training.
        layer.unshard()
        layer.reshard()
    return model


def _give_back_from(size: int) -> None:
    """Let glibc return freed blocks of ``size`` bytes and more to the system.

    By itself it learns to keep blocks of up to 32 MiB, and so the memory of a model that was whole for a while: with
    SmolLM2-135M in two processes 1,404 MB lay there after loading, and 750 MB where it returns those from 1 MiB on.
    """
    import ctypes

    try:
        ctypes.CDLL(None).mallopt(-3, size)  # M_MMAP_THRESHOLD
    except (OSError, AttributeError, TypeError):
        return  # another C library, with ways of its own


def divide(model: PreTrainedModel, mesh: Any, device: torch.device, how: Sharding) -> list[Any]:
    """Freeze ``model``, move it to ``device`` and keep this process's part of each of its decoder layers there.

    Returns:
        these layers, an `FSDPModule` each: what the model calls indivisible (``_no_split_modules``), as accelerate's
        own wrapping takes them.
    """
    import torch

    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        raise InputError(f"{how.name} needs torch 2.6 or newer, this is {torch.__version__}") from None

    model.requires_grad_(False)
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers: list[Any] = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise InputError(
            f"{type(model).__name__} does not say which layers it is made of, so {how.name} cannot divide it",
            remedy="start it with torchrun, or with accelerate's MULTI_GPU configuration",
        )
    for layer in layers:
        fully_shard(layer.to(device), mesh=mesh, reshard_after_forward=how.reshard)
    model.to(device)  # type: ignore[arg-type]
    return layers


def weights(model: nn.Module) -> tuple[int, int]:
    """Numbers in the parameters of ``model``, and those of them that this process holds."""
    from torch.distributed.tensor import DTensor

    found = list(model.parameters())
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in found)
    return sum(p.numel() for p in found), held


def check_training(device: torch.device, without: Mapping[str, bool]) -> None:
    """Whether a model whose every weight trains can do so under the launcher's configuration.

    FSDP2 and DeepSpeed's engine are the Trainer's own: they divide optimiser state, gradients and, FSDP2 and ZeRO-3,
    weights. On CPUs accelerate divides nothing.

    Args:
        device: of the training. without: options that do not go with it, and whether each was given.

    Raises:
        InputError: another version of FSDP, or such an option.
    """
    fsdp, zero = _set(_FSDP), _set(_DEEPSPEED)
    if processes.world() == 1 or not (fsdp or zero):
        return
    if device.type == "cpu":
        console.note("accelerate shards nothing on CPUs: every process keeps the whole model (data parallelism)")
        return
    if fsdp and os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("weights that train are sharded by FSDP 2 only", remedy="set fsdp_version: 2")
    given = [option for option, used in without.items() if used]
    if given:
        name = "FSDP" if fsdp else "DeepSpeed"
        raise InputError(f"{given[0]} does not go with {name}", remedy=f"leave it out, or use torchrun without {name}")


def gathered(model: PreTrainedModel, path: str, device: torch.device) -> PreTrainedModel:
    """``model`` in plain weights: itself, or where training has divided it among the processes, a whole copy on each.

    ``path``: of a checkpoint of its architecture and vocabulary, for what is no weight.
    """
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.tensor import DTensor

    from gti_cli.checkpoints.loading import load_model

    state: dict[str, Any]
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        state = _put_together(model)
    elif any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    else:
        return model
    whole = load_model(path, device, torch.float32)
    whole.load_state_dict(state)
    return whole


def _put_together(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The state of a model that ZeRO-3 has divided (its parameters are empty; each process holds a part elsewhere)."""
    import deepspeed  # type: ignore[import-not-found, unused-ignore]
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]  # what is loaded from here on is to be whole
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        return {name: value.detach().clone() for name, value in model.state_dict().items()}
