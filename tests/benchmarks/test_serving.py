"""`gti serve` beside ``generate`` in FastAPI, one request at a time, and beside `Recommender` without a server.

The sample's language model (2.2 million weights in float32), 12,000 items of 3 x 256 codes, 20 beams, lists of 10,
histories of 20 items. 1, 8 and 32 clients ask again as soon as they are answered. The peers answer the same histories
with the same model: transformers' ``generate`` constrained by ``prefix_allowed_tokens_fn``, and by gti's own
`SemanticIdLogitsProcessor`. All processes share one core, that of the clients included. `gti serve` and `Recommender`
are measured in turns, best of three rounds.
Run with ``taskset -c 0 pytest tests/benchmarks/test_serving.py --run-benchmarks -s -n 0``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ITEMS, CODES, LEVELS, BEAMS, K, HISTORY = 12_000, 256, 3, 20, 10, 20
CLIENTS = {1: 16, 8: 64, 32: 192}  # clients -> requests of a round; the slow peers get one round of fewer
ROUNDS = 3
PEER_CLIENTS = {1: 6, 8: 16, 32: 64}
FASTER, SHARE_OF_P99, COST = 10, 0.2, 0.15
SAMPLE = Path(__file__).parents[2] / "sample_data" / "lm"
HEAD = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PEERS = ("prefix_allowed_tokens_fn", "SemanticIdLogitsProcessor")


def make_workspace(folder: Path) -> list[list[str]]:
    """Write Semantic IDs and a checkpoint with their tokens, and return the users' histories."""
    import torch

    from gti_cli.checkpoints.loading import load_model, load_tokenizer
    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.checkpoints.saving import save_checkpoint
    from gti_cli.checkpoints.token_names import all_names
    from gti_cli.workspace import Workspace
    from tests.support import evaluation

    sizes, rng, space = [CODES] * LEVELS, np.random.default_rng(0), Workspace(folder)
    codes = np.unique(rng.integers(0, CODES, (2 * ITEMS, LEVELS)), axis=0)
    ids = evaluation.add_semantic_ids(space, rng.permutation(codes)[:ITEMS].astype(np.int32), sizes=sizes)
    tokenizer, model = load_tokenizer(str(SAMPLE)), load_model(str(SAMPLE), torch.device("cpu"), torch.float32)
    base, names = len(tokenizer), all_names(sizes)
    tokenizer.add_tokens(names)
    torch.manual_seed(0)
    model.resize_token_embeddings(base + len(names), mean_resizing=False)
    model.get_input_embeddings().weight.data[base:].normal_(0, 0.1)
    levels = np.repeat(np.arange(LEVELS), CODES).astype(np.int32)
    tokens = NewTokens(names, np.arange(base, base + len(names)), levels, np.tile(np.arange(CODES), LEVELS))
    said: dict[str, Any] = {"options": {"history": HISTORY}, "upstream": {"semantic_ids": ids}}
    with space.stage("finetune", "finetuned", ["finetuned"], checkpoint=True, **said) as run:
        save_checkpoint(run.path("finetuned"), model, tokenizer, tokens)
        run.details.update({"semantic_ids": ids.identity, "model": "sample", "initializer": "mean", "base_vocab": base})
    return [[f"i{row}" for row in rng.integers(0, ITEMS, HISTORY)] for _ in range(max(CLIENTS.values()))]


def run_peer(workspace: str, constraint: str) -> None:
    """Serve ``generate`` as one would write it by hand: a lock around the model, one request at a time."""
    import threading

    import torch
    import uvicorn
    from fastapi import FastAPI

    from gti_cli.recommender.recommender import Recommender

    recommender = Recommender.load(workspace, device="cpu", dtype="float32")
    catalogue, loaded, lock, app = recommender.files.catalogue, recommender.model, threading.Lock(), FastAPI()
    answers = np.stack([loaded.token_ids[n][catalogue.codes[:, n]] for n in range(LEVELS)], axis=1)
    item_of = {tuple(answer): item for answer, item in zip(answers.tolist(), catalogue.item_ids, strict=True)}
    following: dict[tuple[int, ...], list[int]] = {}
    for answer in item_of:
        for length in range(LEVELS):
            tokens = following.setdefault(answer[:length], [])
            if answer[length] not in tokens:
                tokens.append(answer[length])

    @app.post("/recommend")
    def recommend(body: dict[str, Any]) -> dict[str, Any]:
        rows = [[recommender.row_of[item] for item in body["history"]]]
        prompt = torch.tensor(loaded.prompts_of_histories(rows).ids)
        length = prompt.shape[1]
        if constraint == PEERS[0]:
            rule: dict[str, Any] = {
                "prefix_allowed_tokens_fn": lambda _, sequence: following[tuple(sequence[length:].tolist())]
            }
        else:
            rule = {"logits_processor": [recommender.logits_processor(length)]}
        with lock, torch.inference_mode():
            out = loaded.searcher.model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                num_beams=BEAMS,
                num_return_sequences=K,
                max_new_tokens=LEVELS,
                do_sample=False,
                length_penalty=0.0,
                eos_token_id=None,
                pad_token_id=0,
                **rule,
            )
        return {"items": [{"item_id": item_of[tuple(answer)]} for answer in out[:, length:].tolist()]}

    config = uvicorn.Config(app, port=0, log_level="error")
    server, listener = uvicorn.Server(config), config.bind_socket()
    listener.listen()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    server.run(sockets=[listener])


@contextlib.contextmanager
def served(command: list[str]) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server that prints its address; its port and its process."""
    threads = {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        ),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}) as process:
        try:
            assert process.stdout is not None
            yield int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1]), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def ask(port: int, histories: list[list[str]], clients: int) -> tuple[list[float], float, list[list[str]]]:
    """Let clients ask in turn: seconds of each request, seconds in all, and the lists. HTTP by hand costs little."""
    waiting, seconds, lists = list(enumerate(histories))[::-1], [0.0] * len(histories), [[""]] * len(histories)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            number, history = waiting.pop()
            body = json.dumps({"history": history, "k": K}).encode()
            start = time.perf_counter()
            writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert answer.startswith("http/1.1 200"), answer
            content = await reader.readexactly(int(answer.split("content-length: ")[1].split("\r\n")[0]))
            seconds[number] = time.perf_counter() - start
            lists[number] = [item["item_id"] for item in json.loads(content)["items"]]
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, time.perf_counter() - start, lists


def measure(
    server: tuple[int, psutil.Process], histories: list[list[str]], counts: dict[int, int]
) -> tuple[dict[int, Any], list[list[str]]]:
    """The figures for each number of clients, and the lists of the last of them.

    The figures are p50 and p99 in milliseconds, requests per second, and the milliseconds of processor time that the
    server needs for a request. The last does not depend on other work on the machine.
    """
    port, process = server
    asyncio.run(ask(port, histories[:4], 2))  # the first requests of a process are slower
    figures, lists = {}, []
    for clients, requests in counts.items():
        before = sum(process.cpu_times()[:2])
        seconds, total, lists = asyncio.run(ask(port, histories[:requests], clients))
        figures[clients] = summary(seconds, total, sum(process.cpu_times()[:2]) - before, requests)
    return figures, lists


def summary(seconds: list[float], total: float, processor: float, requests: int) -> tuple[float, ...]:
    """p50 and p99 in milliseconds, requests per second, and milliseconds of processor time for a request."""
    p50, p99 = (1000 * float(np.quantile(seconds, q)) for q in (0.5, 0.99))
    return p50, p99, requests / total, 1000 * processor / requests


def run_in_process(workspace: str, histories: list[list[str]]) -> None:
    """Ask `Recommender` without a server, as many at once as there are clients: a round for each line of stdin."""
    import torch

    from gti_cli.recommender.recommender import Recommender

    torch.set_num_threads(1)
    recommender = Recommender.load(workspace, device="cpu", dtype="float32")
    recommender.recommend(histories=histories[:4], k=K, search="beam", beams=BEAMS)
    for line in sys.stdin:
        clients, requests = map(int, line.split())
        seconds, before = [], time.process_time()
        for first in range(0, requests, clients):
            start = time.perf_counter()
            recommender.recommend(histories=histories[first : first + clients], k=K, search="beam", beams=BEAMS)
            seconds.append(time.perf_counter() - start)
        print(json.dumps(summary(seconds, sum(seconds), time.process_time() - before, requests)), flush=True)


def best(rounds: list[tuple[float, ...]]) -> tuple[float, ...]:
    """The round with the most requests per second, with the least processor time of all rounds."""
    return (*max(rounds, key=lambda figures: figures[2])[:3], min(figures[3] for figures in rounds))


def measure_both(workspace: str, histories: list[list[str]], told: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """The figures of `gti serve` and of `Recommender`, in turns, since other work makes both slower at times."""
    options = f"--search beam --beams {BEAMS} --max-k {K} --device cpu --dtype float32 --port 0 --json"
    alone = [sys.executable, __file__, "in-process", workspace, str(told)]
    figures: dict[str, Any] = {"gti serve": {}, "Recommender in process": {}}
    lists: list[list[str]] = []
    with (
        served([sys.executable, "-m", "gti_cli", "serve", "-w", workspace, *options.split()]) as server,
        subprocess.Popen(alone, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        for clients, requests in CLIENTS.items():
            rounds: tuple[list[Any], list[Any]] = ([], [])
            for _ in range(ROUNDS):
                of_server, lists = measure(server, histories, {clients: requests})
                rounds[0].append(of_server[clients])
                process.stdin.write(f"{clients} {requests}\n")
                process.stdin.flush()
                rounds[1].append(json.loads(process.stdout.readline()))
            for name, of_side in zip(figures, rounds, strict=True):
                figures[name][clients] = best(of_side)
        process.stdin.close()
    return figures, lists


def test_serving(tmp_path: Path) -> None:
    workspace = str(tmp_path / "workspace")
    histories = make_workspace(Path(workspace))
    (tmp_path / "histories.json").write_text(json.dumps(histories))
    me = [sys.executable, __file__]
    table, ours = measure_both(workspace, histories, tmp_path / "histories.json")
    for peer in PEERS:
        with served([*me, "peer", workspace, peer]) as server:
            table[f"generate, {peer}"], theirs = measure(server, histories, PEER_CLIENTS)
        # The same lists: sums in another order may swap two items.
        same = [len({*a} & {*b}) / K for a, b in zip(ours, theirs, strict=False)]
        assert np.mean(same) > 0.98
    for name, figures in table.items():
        for clients, (p50, p99, rate, processor) in figures.items():
            waited = f"p50 {p50:7.1f} ms, p99 {p99:7.1f} ms, {rate:6.1f} requests/s"
            print(f"{name:40} {clients:3} clients: {waited}, {processor:6.1f} ms of processor time each")
    (_, p99, rate, cost), (_, _, ceiling, least) = table["gti serve"][32], table["Recommender in process"][32]
    for peer in PEERS:
        _, peer_p99, peer_rate, _ = table[f"generate, {peer}"][32]
        print(
            f"32 clients beside {peer}: {rate / peer_rate:.1f} times the requests, p99 {p99 / peer_p99:.3f} of theirs"
        )
    print(f"serving takes {1 - rate / ceiling:.1%} of the requests, and {cost / least - 1:.1%} more processor time")
    _, peer_p99, peer_rate, _ = table[f"generate, {PEERS[0]}"][32]
    assert rate > FASTER * peer_rate
    assert p99 < SHARE_OF_P99 * peer_p99
    assert cost < (1 + COST) * least


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        run_peer(*sys.argv[2:])
    else:
        run_in_process(sys.argv[2], json.loads(Path(sys.argv[3]).read_text("utf-8")))
