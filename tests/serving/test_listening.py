from __future__ import annotations

import json

import pytest

from gti_cli import console
from gti_cli.serving.listening import announce, listening, port_of, uvicorn_settings
from gti_cli.serving.options import ServeOptions


def test_a_free_port_is_found_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    options = ServeOptions(port=0, host="::1")
    console.configure(json_output=True)
    with listening(options) as listener:
        port = port_of(listener)
        assert port > 0
        announce(options, port)
    assert json.loads(capsys.readouterr().out) == {"url": f"http://[::1]:{port}"}


def test_access_lines_go_to_stderr_and_only_if_asked_for() -> None:
    quiet, loud = uvicorn_settings(ServeOptions()), uvicorn_settings(ServeOptions(access_log=True))
    assert (quiet["access_log"], loud["access_log"], loud["log_level"]) == (False, True, "info")
    assert loud["log_config"]["handlers"]["access"]["stream"] == "ext://sys.stderr"
