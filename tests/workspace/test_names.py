"""Names that a user may give to an output."""

from __future__ import annotations

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace.names import check_output_name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../escaped", "a/b", "/tmp/x", ".hidden", "semantic_ids", "evaluation"]
)
def test_output_names_stay_in_the_workspace_and_off_other_stages(name: str) -> None:
    with pytest.raises(InputError, match=r"is no plain folder name|is what gti calls another"):
        check_output_name(name, default="grounded")


def test_output_names_that_are_allowed() -> None:
    check_output_name("mean-2.seed_1", default="grounded", start="extended")
    check_output_name("extended", default="extended")
    with pytest.raises(InputError, match="start from"):
        check_output_name("mean", default="finetuned", start="mean")
