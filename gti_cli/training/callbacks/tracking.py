"""Experiment trackers (TensorBoard, Weights & Biases, …) through the Trainer's own callbacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gti_cli import network
from gti_cli.errors import InputError

_FOLDER = "TENSORBOARD_LOGGING_DIR"


def trackers(names: Sequence[str]) -> list[str]:
    """Check the trackers of ``--report-to``.

    Args:
        names: Names of trackers as `transformers.Trainer` has them; ``none`` stands for none.

    Returns:
        The trackers, each once and without ``none``.

    Raises:
        InputError: When a name is unknown, its package is not installed, or TensorBoard does not load.
    """
    chosen = [name for name in dict.fromkeys(names) if name != "none"]
    if not chosen:
        return []
    from transformers.integrations import integration_utils

    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise InputError(f"--report-to {unknown[0]!r} is not known", remedy=f"use none, or some of {', '.join(known)}")
    installed = integration_utils.get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    missing = [name for name in chosen if name not in installed]
    if missing:
        raise InputError(
            f"--report-to {missing[0]}: its package is not installed here", remedy=f"pip install {missing[0]}"
        )
    if network.is_forbidden() and chosen != ["tensorboard"]:
        raise InputError(
            f"--report-to {', '.join(chosen)}: with --offline nothing is sent to another machine",
            remedy="use --report-to tensorboard, which writes files, or leave --offline out",
        )
    if "tensorboard" in chosen:
        _check_tensorboard()
    return chosen


def _check_tensorboard() -> None:
    """Check that TensorBoard loads: without its own packages it would fail only when the Trainer writes with it."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except Exception as error:  # of its packages' other versions: protobuf raises TypeError, numpy AttributeError
        if find_spec("tensorboardX") is None:  # which transformers uses in its place
            raise InputError(
                f"--report-to tensorboard: it is installed, but does not load ({error})",
                remedy="pip install --force-reinstall tensorboard",
            ) from error


@contextmanager
def logs_in(folder: Path) -> Iterator[None]:
    """Let Trainers made within the block write TensorBoard's files to a folder.

    By default the callback writes beside the Trainer's checkpoints, which are removed when the run is done. A folder
    that the user's environment sets takes precedence.

    Args:
        folder: The folder.
    """
    if _FOLDER in os.environ:
        yield
        return
    os.environ[_FOLDER] = str(folder)
    try:
        yield
    finally:
        del os.environ[_FOLDER]
