"""Options that cannot be meant are refused."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.options import ImportOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duplicates": "drop"}, "--duplicates 'drop' is not known"),
        ({"k_core": 0}, "--k-core 0 is too small"),
        ({"max_users": -1}, "--max-users -1 is too small"),
        ({"format": "mind", "columns": "item_id=a"}, "exclude each other"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImportOptions(**options).check()


def test_the_defaults_leave_nothing_out() -> None:
    ImportOptions().check()
    assert ImportOptions() == ImportOptions(duplicates="keep", k_core=None, min_rating=None, max_users=None)
