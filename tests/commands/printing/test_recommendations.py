"""Lists in pieces, written to one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.commands.printing.recommendations import print_lists, write_lists
from gti_cli.recommendation.listing.recommendations import Recommendation, Recommendations
from tests.support.listed_items import listed_items


def a_list(user: str, items: int, proven: bool = True) -> Recommendations:
    return Recommendations(
        Recommendation(user_id=user, rank=n, item_id=f"i{n}", title=f"Hat {n}", score=-0.5 * n, proven=proven)
        for n in range(1, items + 1)
    )


def test_pieces_become_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "lists.parquet"
    pieces = [a_list("a", 2), a_list("b", 0), a_list("c", 1, proven=False)]
    write_lists((listed_items(piece, users) for piece, users in zip(pieces, "abc", strict=True)), "user_id", output)
    table = tables.read(output, []).to_pydict()
    assert table["user_id"] == ["a", "a", "c"]
    assert table["item_id"] == ["i1", "i2", "i1"]
    assert table["proven"] == [True, True, False]
    assert "(3 lines, 2 users)" in capsys.readouterr().out


def test_users_get_a_column_where_there_may_be_several(capsys: pytest.CaptureFixture[str]) -> None:
    print_lists(a_list("somebody", 2), "user_id", None)
    printed = capsys.readouterr().out
    assert "2 items for 1 users" in printed and "somebody" in printed
    print_lists(a_list("somebody", 2), "user_id", "Next")
    assert "somebody" not in capsys.readouterr().out
