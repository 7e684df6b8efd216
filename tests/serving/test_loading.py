from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from gti_cli.errors import InputError
from gti_cli.recommendation.recommend import recommend
from gti_cli.serving.loading import make_loader
from gti_cli.workspace import Workspace
from tests.support.evaluation import SIZES, add_checkpoint, add_semantic_ids, make_world
from tests.support.serving import listed, served


def test_a_client_cannot_have_any_folder_loaded(tmp_path: Path) -> None:
    for name in ("../other", "/etc", str(tmp_path), "none"):
        with pytest.raises(InputError, match="no checkpoint"):
            make_loader(tmp_path, None)(name)


def test_a_reload_takes_up_another_checkpoint_and_new_items(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "other", seed=5)
    history = world.item_ids[:3]

    async def work() -> None:
        async with served(load=make_loader(world.workspace, None, device="cpu")) as server:

            async def ask() -> list[str]:
                return listed(await server.client.post("/recommend", json={"history": history, "k": 26}))

            before = await ask()
            answer = await server.client.post("/reload", json={"checkpoint": "other"})
            assert answer.json()["checkpoint"] == "other", answer.text
            expected = recommend(world.workspace, checkpoint="other", histories={"u": history}, k=26)
            assert await ask() == [entry.item_id for entry in expected] != before
            # What `gti build-ids --reuse` does: the same IDs, and one more item.
            taken = {tuple(row) for row in world.codes.tolist()}
            free = next(row for row in np.ndindex(*SIZES) if row not in taken)
            add_semantic_ids(space, np.vstack([world.codes, [free]]).astype(np.int32))
            assert (await server.client.post("/reload", json={})).json()["items"] == 27
            assert "i26" in listed(await server.client.post("/recommend", json={"history": history, "k": 27}))

    asyncio.run(work())
