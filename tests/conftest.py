"""Tiny tokenizers and models that the tests build themselves: no hub, no files of another project."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Parallel test workers with many threads each stall one another; this must be set before torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import settings

from tests.support.models import make_model, make_tokenizer

# Machines that run the suite are shared and slow at times: an example that takes long is no defect.
settings.register_profile("gti", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gti")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-benchmarks", action="store_true", help="run tests/benchmarks (ratios against named peers)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip benchmarks unless they are asked for."""
    for item in items:
        if "benchmarks" in item.path.parts and not config.getoption("--run-benchmarks"):
            item.add_marker(pytest.mark.skip(reason="a benchmark: pass --run-benchmarks"))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: modules and tests.

    The end of each training collects garbage, and without this it walks through all of them for most of a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _versions_read_once() -> Iterator[None]:
    """Reading the versions of packages, for each manifest, takes time, and they do not change between tests."""
    from gti_cli.workspace import stage_run

    versions = stage_run.package_versions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "package_versions", lambda: dict(versions))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_process_of_a_command() -> Iterator[None]:
    """A test worker is no process of one command: what that leaves out, for a quick start, other tests may need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gti_cli.app.quick_start", SimpleNamespace(begin=lambda: None))
        yield


@pytest.fixture(autouse=True)
def saved_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run leaves behind when it is broken off must not depend on how fast the machine is."""
    monkeypatch.setattr("gti_cli.training.callbacks.saving.MAX_TIME_SHARE", float("inf"))


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes time by the number of dots. What tests ask of pictures does not depend on it."""
    monkeypatch.setattr("gti_cli.plot_style.DOTS_PER_INCH", 30)


@pytest.fixture(autouse=True)
def _console_as_it_starts() -> Any:
    """What one test's command line set (``-q``, ``--json``) must not silence the next test."""
    from gti_cli import console

    console.configure()
    yield
    console.configure()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tiny chat tokenizer (do not change it; `make_tokenizer` gives a fresh one)."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small workspace with a blend (`tests.support.blends.Blended`); tests may add evaluations to it."""
    from tests.support.blends import make_blended

    return make_blended(tmp_path_factory.mktemp("blended"))


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny pretrained checkpoint and return its folder: ``make_checkpoint("llama", tied=False)``."""

    def make(kind: str = "qwen3", *, tied: bool = True, chat: bool = True, seed: int = 0, name: str = "base") -> Path:
        folder = tmp_path / name
        tokenizer = make_tokenizer(chat=chat)
        make_model(kind, len(tokenizer), tied=tied, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
