"""Experiment trackers: names, missing packages, and where TensorBoard's files go."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers.integrations import integration_utils

from gti_cli import network
from gti_cli.errors import InputError
from gti_cli.training.callbacks import tracking
from gti_cli.training.callbacks.tracking import logs_in, trackers


def test_names(monkeypatch: Any) -> None:
    assert trackers([]) == trackers(["none"]) == []
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard", "wandb"])
    monkeypatch.setattr(tracking, "_check_tensorboard", lambda: None)
    assert trackers(["wandb", "tensorboard", "wandb"]) == ["wandb", "tensorboard"]
    with pytest.raises(InputError, match=r"'paper' is not known\. Use none, or some of "):
        trackers(["paper"])
    with pytest.raises(InputError, match=r"--report-to mlflow: its package is not installed here\. Pip install mlflow"):
        trackers(["mlflow"])


def test_a_tensorboard_that_does_not_load(monkeypatch: Any) -> None:
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it raises ImportError
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="tensorboard: it is installed, but does not load"):
        trackers(["tensorboard"])
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    assert trackers(["tensorboard"]) == ["tensorboard"]


def test_a_tensorboard_beside_wrong_packages(tmp_path: Path, monkeypatch: Any) -> None:
    """A protobuf of another version raises TypeError, a numpy of another one AttributeError."""
    (tmp_path / "broken.py").write_text("raise TypeError('Descriptors cannot be created directly.')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"])
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    finder = importlib.util.spec_from_file_location("torch.utils.tensorboard", tmp_path / "broken.py")
    monkeypatch.setattr(sys, "meta_path", [Only("torch.utils.tensorboard", finder), *sys.meta_path])
    with pytest.raises(InputError, match="does not load"):
        trackers(["tensorboard"])


class Only:
    """Finds one module."""

    def __init__(self, name: str, spec: Any) -> None:
        self._name, self._spec = name, spec

    def find_spec(self, name: str, *_: Any) -> Any:
        return self._spec if name == self._name else None


def test_offline_nothing_is_sent_to_a_tracker(monkeypatch: Any) -> None:
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard", "wandb"])
    monkeypatch.setattr(tracking, "_check_tensorboard", lambda: None)
    monkeypatch.setattr(network, "is_forbidden", lambda: True)
    assert trackers(["tensorboard"]) == ["tensorboard"]
    with pytest.raises(InputError, match="tensorboard, wandb: with --offline nothing is sent"):
        trackers(["tensorboard", "wandb"])


def test_logs_go_where_they_outlive_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    with logs_in(tmp_path):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path)
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    with logs_in(tmp_path):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "elsewhere"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "elsewhere"
