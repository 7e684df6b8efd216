"""The options of blending."""

from __future__ import annotations

import dataclasses

import pytest

from gti_cli.blending.options import BlendKeywords, BlendOptions
from gti_cli.errors import InputError


@pytest.mark.parametrize("name, value", [("sample", 1), ("list_length", 0), ("batch_size", 0)])
def test_out_of_range(name: str, value: int) -> None:
    BlendOptions().check()
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {value} is too small"):
        BlendOptions(**{name: value}).check()


def test_keywords_name_every_option() -> None:
    assert {entry.name for entry in dataclasses.fields(BlendOptions)} <= set(BlendKeywords.__annotations__)
