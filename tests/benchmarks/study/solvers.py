"""Figures of `solvers.sh`: python solvers.py FOLDER [CHECKPOINT]

With CHECKPOINT: computes the held-out pairs of that grounding run again, one whole sequence at a time with the model's
own forward pass, and writes FOLDER/losses/CHECKPOINT.json: the mean loss (nats) of each token of the answers, the codes
in their order and the end of the turn. Without: prints the tables in Markdown, means over seeds and their standard
deviations.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from best import read, seconds

_ROUNDING = 0.01  # nats: a checkpoint may hold fewer bits than the rows that were measured
REFERENCE = "regression-0"
Runs = dict[tuple[str, ...], list[tuple[Path, dict[str, Any]]]]


def held_out_losses(workspace: Path, name: str) -> list[float]:
    """Return the mean loss (nats) of each token of the held-out answers, position by position."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from gti_cli.grounding.held_out import hold_out
    from gti_cli.grounding.read_pairs import make_pairs, read_pairs, tokens_of_pairs
    from gti_cli.prompts.pair_prompts import TO_TOKENS, encode_pairs
    from gti_cli.tables import read_semantic_ids

    disable_progress_bar()
    manifest = read(workspace / name / "gti.json")
    ids = read_semantic_ids(workspace / "semantic_ids.parquet")
    tokens_of_item = dict(zip(ids.item_ids, ids.tokens, strict=True))
    names = [token for tokens in ids.tokens for token in re.findall(r"<[^>]+>", tokens)]
    tokenizer = AutoTokenizer.from_pretrained(workspace / name)
    model = AutoModelForCausalLM.from_pretrained(workspace / name, dtype=torch.float32).eval()
    table = read_pairs(manifest["inputs"]["pairs"]["path"], tokens_of_item, names)
    pairs, _ = make_pairs(table, tokenizer, manifest["options"]["max_text_tokens"])
    _, held_out = hold_out(pairs, manifest["options"]["held_out"], manifest["seed"], tokens_of_pairs(pairs, names))
    losses = []
    for example in encode_pairs(tokenizer, held_out, TO_TOKENS):
        with torch.inference_mode():
            logits = model(torch.tensor([[*example.prompt, *example.answer[:-1]]])).logits[0, -len(example.answer) :]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.answer), reduction="none"))
    by_position = torch.stack(losses).double().mean(0)
    reported = manifest["metrics"]["held_out_loss"]
    if abs(float(by_position.mean()) - reported) > _ROUNDING:
        raise SystemExit(
            f"{name}: held-out loss {float(by_position.mean()):.4f}, but `gti ground` reported {reported:.4f}"
        )
    return by_position.tolist()


def collect(folder: Path, *patterns: str) -> Runs:
    """Collect the manifests whose names match all patterns, by the first group of each, a seed each."""
    runs: Runs = defaultdict(list)
    for path in sorted(folder.glob("*/gti.json")):
        named = [re.fullmatch(pattern, path.parent.name) for pattern in patterns]
        if all(named):
            runs[tuple(match[1] for match in named if match)].append((path.parent, read(path)))
    return runs


def spread(values: Sequence[float], digits: int) -> str:
    """Write a mean and, of several values, their standard deviation."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ±{np.std(values, ddof=1):.{digits}f}"


def grounding_table(folder: Path) -> str:
    """Write the table of grounding: cost, held-out losses, retrieval."""
    runs = collect(folder, r"((?:gradient|regression)-\d+)-s\d+")
    columns: dict[str, Callable[[Path, dict[str, Any]], str | float]] = {
        "processor s": lambda _, manifest: seconds(manifest),
        "peak MiB": lambda _, manifest: manifest["run"]["peak_memory_bytes"] / 2**20,
        "held-out loss": lambda _, manifest: manifest["metrics"]["held_out_loss"],
        "finds its item first": lambda _, manifest: manifest["metrics"]["retrieval@1"],
        "among ten": lambda _, manifest: manifest["metrics"]["retrieval@10"],
    }
    digits = {"processor s": 0, "peak MiB": 0, "held-out loss": 2}
    lines = [
        "| run | seeds | " + " | ".join(columns) + " | loss of each level, of the end |",
        "|" + "---|" * (len(columns) + 3),
    ]
    for (name,), of_name in sorted(
        runs.items(), key=lambda run: (run[0][0].split("-")[0], int(run[0][0].split("-")[1]))
    ):
        cells = [spread([float(of(*run)) for run in of_name], digits.get(column, 3)) for column, of in columns.items()]
        losses = [read(path) for run, _ in of_name if (path := folder / "losses" / f"{run.name}.json").is_file()]
        cells.append(" ".join(f"{value:.2f}" for value in np.mean(losses, axis=0)) if losses else "–")
        lines.append(f"| {name} | {len(of_name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tuned_table(folder: Path) -> str:
    """Write the table of fine-tuning: accuracy after each start, and what the regression has before each other one."""
    from report import HEAD, difference

    found = collect(folder, r"tuned-(.+)-s\d+-e[\d.]+", r"tuned-.+-s\d+-e([\d.]+)")
    evaluated = {key: [run for run in runs if _per_user_file(folder, run[0]).is_file()] for key, runs in found.items()}
    runs = {key: of_key for key, of_key in evaluated.items() if of_key}
    head = ["from", "epochs", "seeds", "processor s", "R@10", "R@20", "N@10"]
    lines = ["| " + " | ".join([*head, *(f"{REFERENCE} − it, {name}" for name in head[4:])]) + " |"]
    lines.append("|" + "---|" * (len(head) + 3))
    for (name, epochs), of_name in sorted(runs.items(), key=lambda run: (float(run[0][1]), run[0][0])):
        time = spread([seconds(manifest) for _, manifest in of_name], 0)
        reference = runs.get((REFERENCE, epochs), [])
        scores, differences = [], []
        for metric in HEAD:
            own, other = (_per_user(folder, part, metric) for part in (of_name, reference))
            scores.append(spread(own.mean(1).tolist(), 4))
            is_compared = len(other) and name != REFERENCE
            differences.append("{:+.4f} [{:+.4f}, {:+.4f}]".format(*difference(other, own)) if is_compared else "–")
        lines.append("| " + " | ".join([name, epochs, str(len(of_name)), time, *scores, *differences]) + " |")
    return "\n".join(lines)


def _per_user(folder: Path, runs: Sequence[tuple[Path, dict[str, Any]]], metric: str) -> npt.NDArray[np.float64]:
    """(seeds, users) a metric of fine-tuned checkpoints."""
    tables = [pq.read_table(_per_user_file(folder, run)) for run, _ in runs]
    return np.asarray([table.column(metric).to_numpy() for table in tables])


def _per_user_file(folder: Path, run: Path) -> Path:
    """Where the evaluation of a fine-tuned checkpoint is."""
    return folder / "evaluation" / run.name / "per_user.parquet"


def main(folder: Path, name: str | None = None) -> None:
    """Print the tables, or measure one checkpoint."""
    if name is None:
        print(grounding_table(folder), tuned_table(folder), sep="\n\n")
        return
    path = folder / "losses" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(held_out_losses(folder, name)), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
