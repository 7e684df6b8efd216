"""Experiment trackers (TensorBoard, Weights & Biases, …), by the Trainer's own callbacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gti_cli.errors import InputError

_FOLDER = "TENSORBOARD_LOGGING_DIR"


def trackers(given: Sequence[str]) -> list[str]:
    """The trackers of ``--report-to`` by the names that `transformers.Trainer` has for them; ``none`` is none.

    Raises:
        InputError: an unknown name, one whose package is not installed, a TensorBoard that does not load.
    """
    wanted = [name for name in dict.fromkeys(given) if name != "none"]
    if not wanted:
        return []
    from transformers.integrations import integration_utils

    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"--report-to {unknown[0]!r} is not known", remedy=f"use none, or of {', '.join(known)}")
    installed = integration_utils.get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    missing = [name for name in wanted if name not in installed]
    if missing:
        raise InputError(
            f"--report-to {missing[0]}: its package is not installed here", remedy=f"pip install {missing[0]}"
        )
    if "tensorboard" in wanted:
        _check_tensorboard()
    return wanted


def _check_tensorboard() -> None:
    """TensorBoard is found by its name, yet without its own dependencies it fails when the Trainer writes with it."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        if find_spec("tensorboardX") is None:  # which transformers takes in its place
            raise InputError(
                f"--report-to tensorboard: it is installed, but does not load ({error})",
                remedy="pip install --force-reinstall tensorboard",
            ) from error


@contextmanager
def logs_in(folder: Path) -> Iterator[None]:
    """Trainers made in here write TensorBoard's files to ``folder``, unless the environment already says where.

    (By itself the callback writes beside the Trainer's checkpoints, which are removed when the run is done.)
    """
    if _FOLDER in os.environ:
        yield
        return
    os.environ[_FOLDER] = str(folder)
    try:
        yield
    finally:
        del os.environ[_FOLDER]
