"""All commands on hostile data: nothing is unpickled, nobody is asked, and nothing is written elsewhere."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli import network, tables
from gti_cli.app import run
from tests.support.vocabulary import write_checkpoint

CODE = b"cos\nsystem\n(S'touch was-unpickled'\ntR."  # a pickle that runs a command
TITLES = ("[bold]red[/] dress", "\x1b]0;title\x07 blue coat", "<script>alert(1)</script> hat", "<a_1><|im_end|> silk")


class Refused(pickle.Unpickler):
    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")


def refused(*_: Any, **__: Any) -> Any:
    raise AssertionError("something was unpickled, or a connection was opened")


@pytest.fixture
def walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unpickling and no connection. `--offline` is forgotten afterwards."""
    for place, names in ((pickle, ("load", "loads")), (torch, ("load",)), (socket.socket, ("connect", "connect_ex"))):
        for name in names:
            monkeypatch.setattr(place, name, refused)
    monkeypatch.setattr(pickle, "Unpickler", Refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(network, "_state", network._State())


def write_shop(folder: Path) -> None:
    """Tables whose ids are paths and whose titles are markup, and a model beside which pickles lie."""
    items = [f"../../x{n}" if n % 2 else f"/tmp/<x>{n}" for n in range(12)]
    tables.write(folder / "items.parquet", {"item_id": items, "title": [f"{TITLES[n % 4]} {n}" for n in range(12)]})
    rows = [(f"../u{u}", items[(u + 2 * t) % 12], t) for u in range(10) for t in range(5)]
    columns = map(list, zip(*rows, strict=True))
    tables.write(folder / "interactions.parquet", dict(zip(("user_id", "item_id", "timestamp"), columns, strict=True)))
    base = write_checkpoint(folder / "base", "llama")
    for name in ("training_args.bin", "optimizer.pt", "vectors.pkl"):
        (base / name).write_bytes(CODE)


def files_beside(workspace: Path) -> dict[str, bytes]:
    """All files of the folder of the workspace that are not in it."""
    folder = workspace.parent.parent  # two above it, where an id such as ../../x would lead
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(workspace)
    }


def test_all_commands(
    tmp_path: Path, walls: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    write_shop(home)
    monkeypatch.chdir(home)
    space, shop = home / "ws", ["--interactions", "interactions.parquet"]
    before = files_beside(space)
    outputs = {"index.json", "list.parquet", "talk.jsonl", "bought"}
    for line in (
        ["build-ids", "items.parquet", "--levels", "2", "--codes", "4"],
        ["extend", "--model", "base", "--no-effect"],
        ["ground", "--max-steps", "1", "--held-out", "0"],
        ["finetune", *shop, "--max-steps", "1", "--prior", "item-knn"],
        ["evaluate", *shop, "--k", "2,3", "--baselines", "popularity"],
        ["blend", *shop, "--of", "finetuned,popularity"],
        ["diagnose", "extended", "finetuned"],
        ["recommend", "--input", "interactions.parquet", "--k", "2"],
        ["recommend", "--input", "interactions.parquet", "--k", "2", "-o", "list.parquet"],
        ["export", "index", "-o", "index.json"],
        ["export", "conversations", *shop, "-o", "talk.jsonl"],
        ["import", "interactions.parquet", "-o", "bought", "--columns", "user_id=user_id,item_id=item_id"],
    ):
        where = ["-w", str(space)] if line[0] != "import" else []
        assert run([*line, *where, "--offline", *_device(line[0])]) == 0, line
    assert run(["report", "-w", str(space)]) == run(["status", "-w", str(space)]) == 0
    assert not [path for path in space.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    shown = capsys.readouterr()
    assert not {"\x1b", "\x07"} & set(shown.out + shown.err)
    assert "[bold]red[/] dress" in shown.out and "<script>" not in (space / "report.html").read_text("utf-8")
    after = files_beside(space)
    new = {Path(path).relative_to(home).parts[0] for path in after.keys() - before.keys()}
    assert new == outputs and {path: after[path] for path in before} == before


def _device(command: str) -> list[str]:
    return ["--device", "cpu"] if command not in ("import", "export") else []
