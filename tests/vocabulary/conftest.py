"""What the stage is given: a workspace with semantic IDs, a checkpoint to extend, a table of words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gti_cli.workspace import Workspace
from tests.support.vocabulary import SIZES, write_checkpoint, write_semantic_ids, write_words


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with semantic IDs."""
    space = Workspace(tmp_path / "space")
    write_semantic_ids(space, np.array([[a, b] for a in range(4) for b in range(3)], dtype=np.int32), SIZES)
    return space


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint into `base`; arguments as of `write_checkpoint`."""
    return functools.partial(write_checkpoint, tmp_path / "base")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A table with three new tokens."""
    return write_words(tmp_path)
