"""A CPU that behaves as two devices, so that a tensor on the wrong one is noticed on a machine without a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cpu", 0)  # The device of the model; "cpu" without a number is the host.

_MAKERS = {
    *(torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.zeros),
    *(torch.tensor, torch.as_tensor, torch.rand, torch.randn, torch.randint, torch.scalar_tensor),
}
_TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}
_INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
_COPIES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.copy_, *_INDEXING}
_SORTS = {torch.sort, torch.Tensor.sort}


class TwoDevices(TorchFunctionMode):
    """Within this context a tensor is on the device only if ``device=DEVICE`` was said, or if it was computed there.

    All that is made without a device is on the host. As on a GPU, it is an error to compute with tensors of both, or to
    read one of the device as a numpy array. Tensors from before the context are on the device. A sort that is not asked
    to be stable is not stable.
    """

    def __enter__(self) -> Any:
        """Begin; what `torch.from_numpy` makes cannot be seen by a mode, so that it is replaced."""
        self._from_numpy = torch.from_numpy
        torch.from_numpy = lambda array: _moved(self._from_numpy(array), True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """End."""
        torch.from_numpy = self._from_numpy
        super().__exit__(*error)

    @staticmethod
    def is_on_device(tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the device, not on the host."""
        return not _on_host(tensor)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``func``, and note where its result is."""
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        if func in _TO_NUMPY and not _on_host(given[0]):
            raise RuntimeError("a tensor of the device is read as a numpy array")
        if not _is_allowed(func, args, given):
            raise RuntimeError(f"{func} was given tensors of both devices")
        if func in _SORTS and not kwargs.get("stable"):
            func = _sort_ties_backwards
        result = func(*args, **kwargs)
        if func == torch.Tensor.device.__get__:
            return result if _on_host(given[0]) else DEVICE
        if func is torch.Tensor.cpu:
            return _moved(result, True)
        if func is torch.Tensor.to:
            wanted = [kwargs.get("device"), *(arg for arg in args[1:] if isinstance(arg, (torch.device, str)))]
            goals = [torch.device(device) != DEVICE for device in wanted if device is not None]
            return _moved(result, goals[0] if goals else _on_host(given[0]))
        if func in _MAKERS:
            on_host = kwargs.get("device") is None or torch.device(kwargs["device"]) != DEVICE
        elif func in _COPIES:
            on_host = _on_host(args[0])
        else:
            on_host = bool(given) and all(map(_on_host, given))
        for tensor in _tensors(result):
            if tensor.__dict__.get("on_host") != on_host and not isinstance(tensor, torch.nn.Parameter):
                tensor.on_host = on_host
        return result


def _tensors(values: Any) -> Iterable[torch.Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from _tensors(list(values.values()))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)


def _is_allowed(func: Any, args: tuple[Any, ...], given: list[torch.Tensor]) -> bool:
    """Whether a GPU's tensors can be given to ``func`` together with the host's."""
    if func in _INDEXING:
        indices = list(_tensors(args[1]))
        # A tensor of the device takes indices of the host, but not the other way round.
        if _on_host(args[0]) and not all(map(_on_host, indices)):
            return False
        # Values are copied from the host where no tensor says to which places.
        values = [value for value in _tensors(args[2:]) if value.dim()]
        return not indices or all(_on_host(value) == _on_host(args[0]) for value in values)
    return func in _COPIES or len({_on_host(tensor) for tensor in given if tensor.dim()}) < 2


def _sort_ties_backwards(
    values: torch.Tensor, dim: int = -1, descending: bool = False, stable: bool | None = None
) -> Any:
    """Sort, the last of equal values first: any order of them is as good, where ``stable`` was not said."""
    last = values.shape[dim] - 1
    found, places = torch.sort(values.flip(dim), dim=dim, descending=descending, stable=True)
    return torch.return_types.sort((found, last - places))


def _on_host(tensor: torch.Tensor) -> bool:
    return bool(tensor.__dict__.get("on_host", False))


def _moved(tensor: torch.Tensor, on_host: bool) -> torch.Tensor:
    """An alias of a tensor, so that the tensor that was moved stays where it is."""
    with torch._C.DisableTorchFunction():
        alias = tensor.view(tensor.shape)
    alias.on_host = on_host  # type: ignore[attr-defined]
    return alias
