"""A frozen model under launcher configurations that shard weights: FSDP, and DeepSpeed ZeRO-3.

What trains beside a frozen model is small, and so is its optimizer state: sharding these would save nothing. The model
is what fills the memory. Its decoder layers are therefore sharded by torch's own FSDP2 (`fully_shard`): each process
holds its part of every layer, gathers a layer while it computes, forwards and backwards, and frees the other parts
again. Input embedding, output head and final norm stay whole on every process, since their rows are read and written
one by one. The gradients of what trains are averaged over the processes as in plain data parallelism. accelerate must
not see the configuration (`plain_launch`): it would shard, and then save, the parameters that train.

ZeRO-3 shards weights in the same manner. Under a DeepSpeed configuration of stage 3 we therefore do the same with
FSDP2. DeepSpeed's engine is not used, since it has nothing to do where the weights are frozen. Stages 0 to 2 leave
weights whole, and so do we.

Gathering a layer needs all processes. All of them must therefore run the model equally often, whatever their share of
the work: a process without work computes something that does not count (`gti_cli.workspace.processes.share`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
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

# Environment variables by which a launcher asks for sharding.
_FSDP, _DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
# What `plain_launch` hides from accelerate and transformers.
_HIDDEN = (_FSDP, _DEEPSPEED, "FSDP_CPU_RAM_EFFICIENT_LOADING")
_STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")  # accelerate: from 1


@dataclass(frozen=True)
class Sharding:
    """How the layers of a frozen model are sharded.

    Attributes:
        name: Name of the configuration, for messages and for the manifest.
        reshard: Whether a layer is freed after its forward pass and gathered again for its backward pass. Otherwise it
            stays whole in between.
    """

    name: str
    reshard: bool = True


def requested_sharding() -> Sharding | None:
    """The sharding that the launcher's environment variables request.

    Returns:
        None where they request none, and where there is only one process.

    Raises:
        InputError: When a configuration cannot be read, or has a value that is not known.
    """
    if _is_on(_FSDP):
        sharding = _fsdp_sharding()
    elif _is_on(_DEEPSPEED):
        sharding = _zero_sharding()
    else:
        return None
    if sharding is not None and processes.world() == 1:
        console.note(f"{sharding.name}: there is one process, so the model is not sharded")
        return None
    return sharding


def _is_on(name: str) -> bool:
    """Whether an environment variable says yes."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def _fsdp_sharding() -> Sharding | None:
    """What accelerate's FSDP variables request."""
    if _is_on("FSDP_OFFLOAD_PARAMS"):
        console.warn("FSDP: offloading has no effect on a frozen model; its shards stay on the device")
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").upper()
    if os.environ.get("FSDP_VERSION", "1") == "2":
        return Sharding("FSDP", reshard not in ("FALSE", "0"))
    strategy = os.environ.get("FSDP_SHARDING_STRATEGY", "FULL_SHARD").upper()
    if strategy.isdigit() and 1 <= int(strategy) <= len(_STRATEGIES):
        strategy = _STRATEGIES[int(strategy) - 1]
    if strategy not in _STRATEGIES:
        raise InputError(f"FSDP_SHARDING_STRATEGY is {strategy!r}", remedy=f"use one of {', '.join(_STRATEGIES)}")
    if strategy == "NO_SHARD":
        console.note("FSDP NO_SHARD: every process keeps the whole frozen model")
        return None
    if strategy.startswith("HYBRID"):
        console.warn(f"FSDP {strategy}: the layers are sharded over all processes, not within each machine")
    return Sharding("FSDP", strategy in ("FULL_SHARD", "HYBRID_SHARD"))


def _zero_sharding() -> Sharding | None:
    """What accelerate's DeepSpeed variables request."""
    stage: Any = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if file and file.lower() != "none":
        try:
            stage = json.loads(Path(file).read_text("utf-8")).get("zero_optimization", {}).get("stage", 0)
        except (OSError, ValueError, RecursionError, AttributeError) as cause:
            raise InputError(
                "DeepSpeed's configuration cannot be read", where=file, remedy="give a JSON file"
            ) from cause
    if str(stage) not in ("0", "1", "2", "3"):
        raise InputError(f"DeepSpeed's ZeRO stage is {stage!r}", remedy="use 0, 1, 2 or 3")
    if str(stage) != "3":
        console.note(f"DeepSpeed ZeRO-{stage} shards no weights: every process keeps the whole frozen model")
        return None
    if os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "none").lower() not in ("none", ""):
        console.warn("ZeRO-3: offloading has no effect on a frozen model; its shards stay on the device")
    return Sharding("DeepSpeed ZeRO-3 (divided in its manner by torch's FSDP2; its engine is not used)")


@contextmanager
def plain_launch() -> Iterator[None]:
    """Hide the launcher's sharding: within the block accelerate and transformers see plain data parallelism."""
    hidden = {name: os.environ.pop(name) for name in _HIDDEN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def load_sharded(path: str, device: torch.device, dtype: torch.dtype, sharding: Sharding) -> PreTrainedModel:
    """Load a causal LM, frozen, with its decoder layers sharded over the processes of this launch.

    The processes of a machine load one after another. At any time one process of a machine has the whole model in its
    main memory and the others have their parts. A device never holds more than one whole layer.

    Args:
        path: Folder of the checkpoint.
        device: Device of this process.
        dtype: Number format of the weights.
        sharding: What the launcher requests.

    Raises:
        InputError: When the checkpoint cannot be loaded, see `gti_cli.checkpoints.loading.load_model`.
        InputError: When the model does not name its layers, see `shard_layers`.
    """
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]
    from torch.distributed.device_mesh import DeviceMesh

    from gti_cli.checkpoints.loading import load_model

    _return_memory_from(1 << 20)
    PartialState(cpu=device.type == "cpu")  # opens the process group in the same way as the Trainer will
    # A process group of its own: gathering layers and averaging gradients then need no common order.
    mesh = DeviceMesh.from_group(torch.distributed.new_group(), device.type)
    for turn in range(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))):
        if turn == int(os.environ.get("LOCAL_RANK", "0")):
            model = load_model(path, torch.device("cpu"), dtype)
            layers = shard_layers(model, mesh, device, sharding)
        torch.distributed.barrier()
    # From here on only whole layers are returned: returning smaller blocks each time would slow down training.
    _return_memory_from(1 << 23)
    for layer in layers:
        # The first gathering creates tensors. It must not happen in inference mode, whose tensors can never train.
        layer.unshard()
        layer.reshard()
    return model


def _return_memory_from(size: int) -> None:
    """Let glibc return freed blocks of ``size`` bytes and more to the operating system.

    By default it learns to keep freed blocks of up to 32 MiB, and so keeps the memory of the whole model after its
    layers were sharded. With SmolLM2-135M in two processes 1,404 MB remained after loading, against 750 MB where blocks
    of 1 MiB and more are returned.
    """
    import ctypes

    try:
        ctypes.CDLL(None).mallopt(-3, size)  # M_MMAP_THRESHOLD
    except (OSError, AttributeError, TypeError):
        return  # not glibc: nothing to set


def shard_layers(model: PreTrainedModel, mesh: Any, device: torch.device, sharding: Sharding) -> list[Any]:
    """Freeze a model, move it to a device and keep only this process's part of each decoder layer.

    Args:
        model: A causal LM in main memory.
        mesh: `DeviceMesh` of all processes.
        device: Device of this process.
        sharding: What the launcher requests.

    Returns:
        The layers, an `FSDPModule` each. These are the modules that the model calls indivisible
        (``_no_split_modules``), as accelerate's own wrapping takes them.

    Raises:
        InputError: When the model does not name its layers.
    """
    from torch.distributed.fsdp import fully_shard

    model.requires_grad_(False)
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers: list[Any] = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise InputError(
            f"{type(model).__name__} does not name its layers, so {sharding.name} cannot shard it",
            remedy="start it with torchrun, or with accelerate's MULTI_GPU configuration",
        )
    for layer in layers:
        fully_shard(layer.to(device), mesh=mesh, reshard_after_forward=sharding.reshard)
    model.to(device)  # type: ignore[arg-type]
    return layers


def count_weights(model: nn.Module) -> tuple[int, int]:
    """Number of weights of a model, and of those that this process holds."""
    from torch.distributed.tensor import DTensor

    parameters = list(model.parameters())
    held = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parameters)
    return sum(p.numel() for p in parameters), held


def check_training(device: torch.device, unsupported: Mapping[str, bool]) -> None:
    """Check that a model whose every weight trains can do so under the launcher's configuration.

    Here the Trainer itself uses FSDP2 or DeepSpeed's engine, which shard optimizer state and gradients, and in FSDP2
    and ZeRO-3 also weights. On CPUs accelerate shards nothing.

    Args:
        device: Device of the training.
        unsupported: Options that do not work with sharding, and whether each was given.

    Raises:
        InputError: When FSDP 1 is configured, or such an option was given.
    """
    fsdp, zero = _is_on(_FSDP), _is_on(_DEEPSPEED)
    if processes.world() == 1 or not (fsdp or zero):
        return
    if device.type == "cpu":
        console.note("accelerate shards nothing on CPUs: every process keeps the whole model (data parallelism)")
        return
    if fsdp and os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("FSDP 1 is not supported where all weights train", remedy="set fsdp_version: 2")
    given = [option for option, used in unsupported.items() if used]
    if given:
        name = "FSDP" if fsdp else "DeepSpeed"
        raise InputError(f"{given[0]} does not go with {name}", remedy=f"leave it out, or use torchrun without {name}")


def gathered(
    model: PreTrainedModel, load: Callable[[torch.device, torch.dtype], PreTrainedModel], device: torch.device
) -> PreTrainedModel:
    """A model with whole weights: the model itself, or a whole copy on each process where training sharded it.

    Args:
        model: The trained model.
        load: Loads a checkpoint with its architecture and vocabulary, from which the copy is made.
        device: Device of the copy.
    """
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.tensor import DTensor

    state: dict[str, Any]
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        state = _gathered_zero_state(model)
    elif any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    else:
        return model
    whole = load(device, torch.float32)
    whole.load_state_dict(state)
    return whole


def _gathered_zero_state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The state of a model that ZeRO-3 has sharded (its parameters are empty; their parts are held elsewhere)."""
    import deepspeed  # type: ignore[import-not-found, unused-ignore]
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]  # models loaded from here on are to be whole
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        return {name: value.detach().clone() for name, value in model.state_dict().items()}
