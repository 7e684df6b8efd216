"""Which targets are evaluated; what is written of them is tested with the stages (`test_evaluate`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.user_results import read_users
from gti_cli.tables.equal_times import InteractionOptions
from tests.support.blends import Blended


def test_parts_and_samples(blended: Blended, tmp_path: Path) -> None:
    world = blended.world
    catalogue = tables.read_semantic_ids(world.workspace / "semantic_ids.parquet")
    known = {user: items for user, items in world.histories.items() if len(items) > 2}
    for part, back in (("test", 1), ("valid", 2)):
        options = EvaluateOptions(split=part, sample=5)
        found = read_users(world.interactions, catalogue, options, InteractionOptions(), 3)
        assert len(found.entries) == 5 and found.not_drawn == len(known) - 5
        for entry in found.entries:
            assert entry.target == f"i{known[entry.user_id][-back]}"
        assert found.users == [entry.user_id for entry in found.entries]
    short = tmp_path / "short.csv"
    short.write_text("user_id,item_id,timestamp,split\na,i1,1,train\na,i2,2,valid\n")
    with pytest.raises(InputError, match="no user has a test item"):
        read_users(short, catalogue, EvaluateOptions(), InteractionOptions(), 0)
