"""Errors of the operating system, as Python and the libraries raise them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gti_cli import app, system_errors

NUMBERS = [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EISDIR, errno.EMFILE]
READING = RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("named", [True, False])
def test_what_the_machine_refuses_is_one_line(
    number: int, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli.workspace import lineage

    def fail(_: object) -> None:
        message = os.strerror(number)
        raise OSError(number, message, "ws/.ids.json.part") if named else OSError(number, f"{message}: 'ws/ids.json'")

    monkeypatch.setattr(lineage, "inspect", fail)
    assert app.run(["status", "-w", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "ws/ids.json" in line and "bug" not in line and ".part" not in line


@pytest.mark.parametrize(
    "message",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
        "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device",  # pyarrow
        "[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/3: file write failed",
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",  # torch.save, too
        "basic_ios::clear: iostream error",
    ],
)
def test_errors_of_libraries_are_understood_by_their_words(message: str) -> None:
    for error in (RuntimeError(message), OSError(message)):
        refusal = system_errors.explain(error)
        assert refusal is not None and "the disk is full" in str(refusal) and str(refusal).endswith("command again.")


def test_other_errors_stay_what_they_are() -> None:
    for error in (
        ValueError("28"),
        OSError(errno.ENOENT, "no such file"),
        RuntimeError("rust (os error 2)"),
        OSError(),
        READING,
    ):
        assert system_errors.explain(error) is None


def test_a_disk_without_room() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="space") as caught, Path("/dev/full").open("w") as file:
        file.write("x")
        file.flush()
    refusal = system_errors.explain(caught.value)
    assert refusal is not None and refusal.problem.startswith("the disk is full")


def test_a_process_of_a_launch_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gti_cli.workspace import lineage

    message = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5"

    def fail(_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(lineage, "inspect", fail)
    assert app.run(["status", "-w", str(tmp_path)]) == 1  # alone there is no other process
    monkeypatch.setenv("WORLD_SIZE", "2")
    capsys.readouterr()
    assert app.run(["status", "-w", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "another process of this launch has ended" in line and "run the same command again" in line
    assert system_errors.explain_lost_process(ValueError("a bug")) is None
