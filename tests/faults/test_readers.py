"""The readers of files on bytes that nobody has written on purpose: an answer or an `InputError`, and nothing else.

``GTI_BAD_INPUT=all`` draws 500 files of each ending instead of a few. `fuzz_readers.py` beside this file looks for
more, led by the branches that are run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bad_input.readers import READERS, read_all, seeds

SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn, ending: str) -> bytes:
    """A valid file of which some pieces are cut out, repeated, or replaced."""
    content = draw(st.sampled_from(SEEDS[ending]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(start + 12, len(content))))
        put = draw(
            st.binary(max_size=4) | st.sampled_from([b"\x00", b'"', b"\n", b"{", b"[[", b"1e999", b"\xff", content[:9]])
        )
        content = content[:start] + put + content[stop:]
    return content


@pytest.mark.parametrize("ending", READERS)
def test_wrong_bytes(ending: str, tmp_path: Path) -> None:
    @settings(
        max_examples=500 if os.environ.get("GTI_BAD_INPUT") else 12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(ending) | st.binary(max_size=60))
    def check(content: bytes) -> None:
        read_all(ending, content, tmp_path)

    check()
