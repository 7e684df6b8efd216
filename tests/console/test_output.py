from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gti_cli import console
from gti_cli.console import output


@pytest.fixture(autouse=True)
def fresh_console() -> object:
    console.configure()
    yield
    console.configure()


def test_table_goes_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Title", ["name", "value"], [["a[b]", 0.12345], ["c", 1234567], ["d", None]])
    console.note("by the way")
    console.say("done")
    captured = capsys.readouterr()
    assert "a[b]" in captured.out
    assert "0.1235" in captured.out
    assert "1,234,567" in captured.out
    assert captured.err == "by the way\n"


HOSTILE = "\x1b[31mred\x07 \x9b2J\x7f [bold]b[/bold] [/] \tع😀"
SHOWN = r"\x1b[31mred\x07 \x9b2J\x7f [bold]b[/bold] [/]"


@pytest.mark.parametrize("terminal", [False, True])
def test_texts_command_neither_the_terminal_nor_rich(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Titles come from other people's tables, names of files from anywhere."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    console.table(HOSTILE, [HOSTILE], [[HOSTILE], [[HOSTILE]]])
    console.say(HOSTILE)
    out = capsys.readouterr().out
    assert out.count(SHOWN) >= 4 and "ع😀" in out
    for say in (console.note, console.warn, console.error):
        say(HOSTILE)
        assert SHOWN in capsys.readouterr().err
    with console.progress(HOSTILE, 1) as advance:
        advance(note=HOSTILE)
    err = capsys.readouterr().err
    assert SHOWN in err and "\x1b[31m" not in err
    console.configure(json_output=True)
    console.result({"title": HOSTILE})
    result = capsys.readouterr().out
    assert json.loads(result) == {"title": HOSTILE}
    assert not {"\x07", "\x7f", "\x9b"} & set(out + err + result) and "\x1b[31m" not in out + result


def test_a_bar_on_a_terminal_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(output, "_stderr", lambda: Console(file=shown, force_terminal=True, width=200))
    with console.progress("Encoding with [red]x[/red]\x1b]0;t", 1) as advance:
        advance(note="[/]")
    assert "Encoding with [red]x[/red]\\x1b]0;t" in shown.getvalue() and "[/]" in shown.getvalue()


def test_a_wide_table_keeps_its_digits_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Title", [f"a long column {i}" for i in range(20)], [["a name", *[0.12345] * 19]])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.count("0.1235") == 19 for line in lines)
    assert len(lines) == 6


def test_a_narrow_terminal_is_told_what_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [["evaluation/finetuned", "2026-11-26 23:27:33", 12.5]]
    console.table("Title", ["artifact", "finished", "seconds"], rows, dispensable=("seconds",))
    assert "12.5" in capsys.readouterr().out  # a pipe has all
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    console.table("Title", ["artifact", "finished", "seconds"], rows, dispensable=("seconds",))
    out = capsys.readouterr().out
    assert "12.5" not in out and "evaluation/finetuned" in out and "2026-11-26" in out
    assert out.endswith("Left out because the terminal is narrow: seconds.\n")


def test_json_is_the_only_thing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(json_output=True)
    console.table("Title", ["x"], [[1]])
    console.say("words")
    console.note("note")
    with console.progress("Working", 3) as advance:
        advance(3)
    console.result({"a": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert "Working" in captured.err


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(quiet=True)
    console.note("note")
    with console.progress("Working", 3) as advance:
        advance()
    console.warn("careful")
    captured = capsys.readouterr()
    assert captured.err == "warning: careful\n"
    assert captured.out == ""


def test_silence_lasts_as_long_as_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), console.silence():
        console.note("unheard")
        console.warn("unheard")
        console.error("heard")
        raise ValueError("inside")
    console.note("afterwards")
    assert capsys.readouterr().err == "error: heard\nafterwards\n"


def test_a_line_on_the_way_says_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0, 40.0, 50.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with console.progress("Training", 100, "steps") as advance:
        advance(10)
        advance(10)
        monkeypatch.setattr("time.monotonic", lambda: 50.0)
        lines = capsys.readouterr().err.splitlines()
        advance(80)
    assert [" ".join(line.split()) for line in lines] == ["Training: 20/100 steps, 0.5 steps/s, ETA 160 s"]


def test_progress_says_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Encoding", 4, "texts") as advance:
        for _ in range(4):
            advance(note="loss 1")
    assert "Encoding: 4/4 texts" in capsys.readouterr().err


def test_no_bar_is_shown_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with console.without_progress(), console.progress("Searching", 2, "users") as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
    with console.progress("Searching", 2, "users") as advance:
        advance(2)
    assert "2/2 users" in capsys.readouterr().err


def test_work_that_fails_leaves_no_line_half(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), console.progress("Training", 100, "steps") as advance:
        advance(40)
        raise KeyError
    words = capsys.readouterr().err
    assert "Training: 40/100 steps" in words and words.endswith("stopped\n") and "ETA" not in words


def test_work_that_ends_early_is_called_so_and_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("Training", 100, "steps") as advance:
        advance(40)
    words = capsys.readouterr().err
    assert "Training: 40/100 steps" in words and words.endswith("ended early\n") and "ETA" not in words


def test_names_between_colons_are_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    """A table is written ``shop:train`` and an error continues with a colon."""
    console.error("shop:train: there is no column")
    console.table("ws:train:", ["from"], [["shop:train:"]])
    captured = capsys.readouterr()
    assert captured.err == "error: shop:train: there is no column\n"
    assert "shop:train:" in captured.out and "ws:train:" in captured.out
