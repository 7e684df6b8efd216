from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import torch
from prometheus_client.parser import text_string_to_metric_families

from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts, KeyValues
from gti_cli.serving.metrics import forget_the_dead
from tests.support.serving import FakeRecommender, served


def test_requests_and_batches_are_counted_by_route_and_status() -> None:
    async def work() -> str:
        async with served(max_wait_ms=0.0) as server:
            for n in range(3):
                await server.client.post("/recommend", json={"history": [f"i{n}"]})
            await server.client.post("/recommend", json={"history": ["x"]})
            await server.client.post("/recommend", json={"users": [{"history": ["i1"]}] * 5})
            for path in ("/items/i1", "/items/i2", "/items/none", "/nowhere/1", "/nowhere/2"):
                await server.client.get(path)
            await server.client.request("BREW", "/health")
            return (await server.client.get("/metrics")).text

    families = {family.name: family for family in text_string_to_metric_families(asyncio.run(work()))}
    counts = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["gti_requests"].samples
        if sample.name == "gti_requests_total"
    }
    # Item ids and unknown paths make no new series: a stranger cannot fill the memory.
    assert counts == {
        ("POST", "/recommend", "200"): 4,
        ("POST", "/recommend", "422"): 1,
        ("GET", "/items/{item_id:path}", "200"): 2,
        ("GET", "/items/{item_id:path}", "404"): 1,
        ("GET", "other", "404"): 2,
        ("other", "/health", "405"): 1,
    }
    sizes = {sample.name: sample.value for sample in families["gti_batch_size"].samples if not sample.labels}
    assert sizes["gti_batch_size_sum"] == 8  # the unknown item was in no batch
    assert families["gti_queue_length"].samples[0].value == 0


def test_what_ended_processes_said_of_the_present_is_forgotten(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    names = [f"{kind}_{number}.db" for kind in ("gauge_livesum", "counter") for number in (os.getpid(), ended.pid)]
    for name in names:
        (tmp_path / name).touch()
    forget_the_dead(tmp_path)
    names.remove(f"gauge_livesum_{ended.pid}.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_the_use_of_the_prefix_cache_is_counted_once() -> None:
    fake = FakeRecommender()

    async def work() -> str:
        async with served(fake, max_wait_ms=0.0) as server:
            fake.prompt_cache = KeptPrompts(1000)
            rest = torch.zeros(1, 3, 1, 1)
            fake.prompt_cache.keep(0, [1, 2, 3], KeyValues(rest, rest))
            for tokens in ([1, 2, 3], [1, 2, 3, 4], [9]):
                fake.prompt_cache.find(0, tokens)
            for n in range(2):
                await server.client.post("/recommend", json={"history": [f"i{n}"]})
            return (await server.client.get("/metrics")).text

    text = asyncio.run(work())
    for line in (
        'gti_prefix_cache_prompts_total{held="whole"} 1.0',
        'gti_prefix_cache_prompts_total{held="part"} 1.0',
        'gti_prefix_cache_prompts_total{held="none"} 1.0',
        'gti_prefix_cache_tokens_total{from="cache"} 5.0',
        'gti_prefix_cache_tokens_total{from="model"} 3.0',
        "gti_prefix_cache_bytes 24.0",
    ):
        assert line in text.splitlines()
