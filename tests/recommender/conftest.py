"""One small workspace for all tests of the room: two items share a semantic ID, and a second checkpoint has a prior."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.recommender.recommender import Recommender
from gti_cli.tensors.vector_file import write_vectors
from tests.support.evaluation import World, make_world
from tests.support.priors import WITH_PRIOR, add_checkpoint_with_prior


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("recommender"))
    add_checkpoint_with_prior(world)
    vectors = np.random.default_rng(4).normal(size=(len(world.item_ids), 4)).astype(np.float32)
    vectors[5] = 0  # an item without words
    write_vectors(world.workspace / "embeddings.safetensors", vectors.shape, [vectors])
    return world


@pytest.fixture(scope="session")
def recommender(small_world: World) -> Recommender:
    return Recommender.load(small_world.workspace, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def with_prior(small_world: World) -> Recommender:
    return Recommender.load(small_world.workspace, WITH_PRIOR, device="cpu", dtype="float32")
