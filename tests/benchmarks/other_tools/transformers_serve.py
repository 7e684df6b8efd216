"""Asks `transformers serve` (the server of transformers 5) for the next item, and compares it with `gti recommend`.

    python transformers_serve.py WORKSPACE CHECKPOINT [HISTORIES]

CHECKPOINT is one that `gti finetune` wrote; HISTORIES (20) are made of five items of the catalogue each. The server
needs `pip install 'transformers[serving]'`, and is started and stopped here. Every history is asked over HTTP in the
wording of ``gti_prompt.json``, greedily: as a chat (``/v1/chat/completions``, the server renders the template) and as
the text of the prompt (``/v1/completions``). Prints two rows of a Markdown table. The exit code, in a row and of this
script, is 1 where an answer is not what `generate` gives in this process, or the server refuses a request.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

ITEMS_SHOWN = 5


class Refusal(str):
    """What the server said instead of an answer."""


def main() -> int:
    """Ask for every history in both ways, and print a row for each way."""
    workspace, name = Path(sys.argv[1]), sys.argv[2]
    folder = Path(name) if Path(name).is_dir() else workspace / name
    asked = json.loads((folder / "gti_prompt.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as scratch:
        texts = item_texts(workspace, name, Path(scratch), asked)
        histories = random_histories(list(texts), int(sys.argv[3]) if len(sys.argv) > 3 else 20)
        best = best_items(workspace, name, Path(scratch), histories)
        questions = ["".join(texts[item] for item in items) for items in histories]
        length = len(tokenizer(questions[0], add_special_tokens=False)["input_ids"]) // ITEMS_SHOWN
        with serving(folder, Path(scratch)) as server:
            answers = {
                path: [
                    ask(server, path, {**body_of(asked, tokenizer, text), **plain(folder, length)})
                    for text in questions
                ]
                for path, body_of in (("/v1/chat/completions", chat_body), ("/v1/completions", text_body))
            }
    greedy = greedy_answers(folder, asked, tokenizer, questions, length)
    for path, of_path in answers.items():
        refused = [answer for answer in of_path if isinstance(answer, Refusal)]
        outcome = (
            refused[0] if refused else compare(of_path, greedy, [texts[item] for item in best], set(texts.values()))
        )
        print_row(path, int(of_path != greedy), outcome)
    return int(any(of_path != greedy for of_path in answers.values()))


def item_texts(workspace: Path, name: str, scratch: Path, asked: dict[str, Any]) -> dict[str, str]:
    """Return the tokens of each item, as text, from the catalogue that `gti export catalog` writes."""
    catalog = scratch / "catalog.json"
    gti("export", "catalog", name, "-w", str(workspace), "-o", str(catalog))
    patterns = asked["item"]["codes"]
    tokenizer = AutoTokenizer.from_pretrained(Path(name) if Path(name).is_dir() else workspace / name)
    around = [tokenizer.decode(asked["item"][side]) for side in ("opening", "closing")]
    return {
        item: around[0]
        + "".join(pattern.format(code) for pattern, code in zip(patterns, codes.split(","), strict=True))
        + around[1]
        for codes, item in json.loads(catalog.read_text("utf-8")).items()
    }


def random_histories(items: Sequence[str], count: int) -> list[list[str]]:
    """Draw histories; the seed is fixed, so that each run asks the same."""
    drawn = random.Random(0)
    return [drawn.sample(items, ITEMS_SHOWN) for _ in range(count)]


def best_items(workspace: Path, name: str, scratch: Path, histories: Sequence[Sequence[str]]) -> list[str]:
    """Return the first item that `gti recommend` gives for each history."""
    table = scratch / "histories.csv"
    lines = [f"{user},{item},{time}" for user, items in enumerate(histories) for time, item in enumerate(items)]
    table.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n", "utf-8")
    answer = gti("recommend", name, "-w", str(workspace), "--input", str(table), "-k", "1", "--dtype", "float32")
    of_user = {line["user_id"]: line["item_id"] for line in answer["recommendations"]}
    return [of_user[str(user)] for user in range(len(histories))]


def gti(*arguments: str) -> Any:
    """Run a command of `gti`, and return its JSON."""
    command = [sys.executable, "-m", "gti_cli", *arguments, "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def greedy_answers(
    folder: Path, asked: dict[str, Any], tokenizer: Any, questions: Sequence[str], length: int
) -> list[str]:
    """Return what `generate` answers in this process to the prompts that the model was trained on, greedily."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id, eos_token_id=asked["end"])
    wording, answers = asked["next-item"]["wordings"][0], []
    for question in questions:
        shown = tokenizer(question, add_special_tokens=False)["input_ids"]
        prompt = torch.tensor([[*wording["before"], *shown, *wording["behind"]]])
        written = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=length + 1, do_sample=False
        )
        answers.append(tokenizer.decode(written[0, prompt.shape[1] :], skip_special_tokens=True).strip())
    return answers


@contextmanager
def serving(folder: Path, scratch: Path) -> Iterator[str]:
    """Start the server on a free port, and yield its address as soon as it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(folder), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--device", "cpu", "--dtype", "float32"]
    log = scratch / "server.log"
    with log.open("wb") as lines:
        server = subprocess.Popen(
            command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=lines, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if server.poll() is not None:
                end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-5:])
                sys.exit(f"`transformers serve` ended with exit code {server.returncode}:\n{end}")
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def chat_body(asked: dict[str, Any], tokenizer: Any, question: str) -> dict[str, Any]:
    """Return the question as messages; the server renders them with the checkpoint's chat template."""
    next_item = asked["next-item"]
    text = next_item["wordings"][0]["text"] + question
    return {"messages": [{"role": "system", "content": next_item["system"]}, {"role": "user", "content": text}]}


def text_body(asked: dict[str, Any], tokenizer: Any, question: str) -> dict[str, Any]:
    """Return the question as the text of the token ids that the model was trained on."""
    wording = asked["next-item"]["wordings"][0]
    return {"prompt": tokenizer.decode(wording["before"]) + question + tokenizer.decode(wording["behind"])}


def plain(folder: Path, length: int) -> dict[str, Any]:
    """Return what is asked besides: greedy, and no more tokens than an item and its end have."""
    return {"model": str(folder), "temperature": 0.0, "max_tokens": length + 1, "stream": False}


def ask(server: str, path: str, body: dict[str, Any]) -> str:
    """Send a request, and return the text of the answer, or the server's refusal."""
    request = urllib.request.Request(
        server + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            choice = json.load(response)["choices"][0]
    except urllib.error.HTTPError as error:
        return Refusal(f"HTTP {error.code}: {' '.join(error.read().decode()[:300].split())}")
    return str(choice["text"] if "text" in choice else choice["message"]["content"]).strip()


def compare(answers: Sequence[str], greedy: Sequence[str], best: Sequence[str], items: set[str]) -> str:
    """Say how many answers are those of `generate`, name an item, and are the item of `gti recommend`."""
    count = len(answers)
    as_generate = sum(answer == other for answer, other in zip(answers, greedy, strict=True))
    exist = sum(answer in items for answer in answers)
    as_gti = sum(answer == other for answer, other in zip(answers, best, strict=True))
    return (
        f"{as_generate} of {count} answers are those of a greedy `generate` on the trained prompt; {exist} name an "
        f"item of the catalogue; {as_gti} are the first item of `gti recommend`, which searches all items"
    )


def print_row(path: str, code: int, outcome: str) -> None:
    """Print a row of the table."""
    what = f"serves a checkpoint of `gti finetune`; asked over HTTP, `{path}`, greedy"
    print(f"| transformers serve | {transformers.__version__} | {what} | {code} | {outcome} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
