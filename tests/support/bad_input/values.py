"""Strange values for the cells of tables, and texts that are no JSON, or not the expected one."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

TEXTS = [
    "", " ", "\t\n", "\x00", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202eevil\u202c", "\u200b", "\ufeff", "\ufffd",
    "\ue000gti\ue000", "عربى فستان", "שמלה", "🦙👩‍👩‍👧‍👦", "e\u0301", "ａ", "<a_1>", "<|im_end|>",
    "<|endoftext|>", "<script>x</script>",
    "[bold]x[/]", "{{ 7*7 }}", "{}", "%s%n", "=1+1", "../../etc/passwd", "/dev/null", "C:\\x", "null",
    "NaN", "inf", "-0",
    "1e5", "0x10", "007", "1,5", '"', "'", "a,b", "x" * 70_000, "\r\nx", "a\u2028b", "\U0010ffff", "🇩🇪" * 50,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 7, 2**31, 2**63 - 1, 2**64 - 1, 1.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    [], [None], ["a", None], [[["x"]]], [1.0, 2.0], {}, {"a": 1}, {"a": {"b": []}}, b"\xff\xfe", Decimal("1.50"),
    datetime(1, 1, 1), datetime(9999, 12, 31), timedelta(days=1),
]  # fmt: skip
JSON_TEXTS = [
    "", "{", "[", "null", "1", '"x"', "[]", "{}", "{}{}", "\ufeff{}", "NaN", "Infinity", "1e999",
    "9" * 5000, "[" * 100_000,
    '{"a":' * 3000, '{"\\ud800": "\\ud800"}', "\x00", "// no\n{}", "{'a': 1}", "true", "\U0001f999",
    '{"a":' + "[" * 200_000 + "]" * 200_000 + "}", '{"a": 1}\nnull\n', "\n \n  null",
]  # fmt: skip
