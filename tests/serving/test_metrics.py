from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving import served


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
