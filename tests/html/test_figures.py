"""Figures as pages show them."""

from __future__ import annotations

import pytest

from gti_cli.html.figures import format_duration, format_figure, format_interval, format_percent, format_time


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.12345, "0.123"),
        (-0.0001, "0.000"),
        (1234.56, "1,234.6"),
        (-12.34, "-12.3"),
        (1234, "1,234"),
        ("text", "text"),
    ],
)
def test_figures(value: object, text: str) -> None:
    assert format_figure(value) == text


def test_decimals_intervals_and_percentages() -> None:
    assert format_figure(0.12345, 4) == "0.1235" and format_figure(-0.00001, 4) == "0.0000"
    assert format_interval((-0.5, 12.0)) == " (-0.500 to 12.0)"
    assert format_interval(None) == ""
    assert (format_percent(0.347), format_percent(None)) == ("35 %", "–")


def test_durations_and_times() -> None:
    assert [format_duration(seconds) for seconds in (0.04, 9.96, 38.05, 90, 5399, 9000)] == [
        "0.0 s",
        "10.0 s",
        "38 s",
        "2 min",
        "90 min",
        "2.5 h",
    ]
    assert format_time("2026-11-28T06:18:28.164+00:00") == "2026-11-28 06:18"
    assert format_time("") == ""
