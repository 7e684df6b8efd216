from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.serving import loading, workers
from gti_cli.serving.options import ServeOptions
from gti_cli.serving.workers import make_worker_app, serve_by_workers
from tests.support.serving import FakeRecommender

OPTIONS = ServeOptions(workers=3, max_k=7, api_key_file=Path("keys"), host="127.0.0.1")


def start(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Let `serve_by_workers` run ``work`` in the place of uvicorn's processes."""
    monkeypatch.setattr("uvicorn.run", work)
    serve_by_workers({"workspace": "w", "checkpoint": "tuned", "seed": 3}, OPTIONS, 8123)


def test_a_worker_gets_the_options_and_the_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").write_text("0123456789abcdef")
    loaded: dict[str, Any] = {}
    made = []

    def loader(workspace: str, checkpoint: str, **keywords: Any) -> Any:
        loaded.update(workspace=workspace, checkpoint=checkpoint, **keywords)
        return lambda name: FakeRecommender()

    def run(app: str, **settings: Any) -> None:
        assert (app, settings["factory"]) == ("gti_cli.serving.workers:make_worker_app", True)
        assert (settings["workers"], settings["port"]) == (3, 8123)
        made.append(make_worker_app())

    monkeypatch.setattr(loading, "make_loader", loader)
    start(monkeypatch, run)
    assert loaded == {"workspace": "w", "checkpoint": "tuned", "seed": 3}
    assert made[0].title == "gti serve"
    assert not [name for name in os.environ if name in (workers._TOLD, workers.SEVERAL_PROCESSES)]


def test_a_worker_that_cannot_load_says_why_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def loader(**keywords: Any) -> Any:
        raise InputError("no such checkpoint")

    def run(app: str, **settings: Any) -> None:
        with pytest.raises(SystemExit):
            make_worker_app()

    monkeypatch.setattr(loading, "make_loader", loader)
    with pytest.raises(InputError, match="no such checkpoint"):
        start(monkeypatch, run)
