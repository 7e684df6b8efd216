"""Make the runs of run.sh on a GPU, several side by side; each lane is a process that imports the packages once.

python lanes.py DATA MODEL FOLDER LANES JOB [JOB ...]

A JOB is METHOD:EPOCHS:SEED, for example `text-lstsq:1:0`. Jobs start in the order given. METHOD is one of run.sh; with
`_RATE` behind it the new rows train at that rate, with `-plain` at the rate of the other weights, else at ROWS.
Finished runs in FOLDER are kept, so a second call resumes; report.py reads them. Settings by environment as in run.sh:
RATE, ROWS (one, or auto), GROUND, K, LANGUAGE; LIMIT (no job starts after so many seconds); IDS, GROUNDING, FINETUNE,
EVALUATE (keywords of these stages, as JSON objects). Runs share the GPU, so their times are not those of a single run.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from best import more_steps
from language import main as language
from runs import start_name

from gti_cli import console

SETTINGS = os.environ
RATE, ROWS = float(SETTINGS.get("RATE", "5e-4")), SETTINGS.get("ROWS", "auto")
LC_REC = ("next-item:2", "lc-rec:1")
STARTED = time.monotonic()


def keywords(name: str) -> dict[str, Any]:
    """Read further keywords of a stage from the environment."""
    found: dict[str, Any] = json.loads(SETTINGS.get(name, "{}"))
    return found


def linked(source: Path, target: Path) -> None:
    """Copy a folder by hard links, unless the copy exists already."""
    if source.exists() and not target.exists():
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        shutil.copytree(source, part, copy_function=os.link)
        part.rename(target)


def lane_of(folder: Path, name: str) -> Path:
    """Make a workspace for a lane (a workspace takes one command at a time), with the semantic IDs of ``folder``."""
    lane = folder / "lanes" / name
    if not lane.exists():
        lane.mkdir(parents=True)
        for path in folder.iterdir():
            if path.is_file() and path.suffix in (".json", ".parquet", ".safetensors"):
                os.link(path, lane / path.name)
    return lane


def start(folder: Path, model: str, method: str) -> str:
    """Make and diagnose the checkpoint from which ``method`` starts, once; return its name in ``folder``."""
    from filelock import FileLock

    from gti_cli.grounding.ground import ground
    from gti_cli.vocabulary.extend import extend

    name = start_name(method)
    init = name.removeprefix("start-")
    with FileLock(folder / "lanes" / f"{name}.lock"):
        if (folder / name).exists():
            return name
        lane = lane_of(folder, name)
        if init == "gti" or init.startswith("gti-"):
            origin = init.removeprefix("gti").removeprefix("-") or "mean"
            if not (lane / f"start-{origin}").exists():
                extend(model, lane, init=origin, name=f"start-{origin}")
            steps = int(SETTINGS.get("GROUND", "600"))
            ground(lane, from_=f"start-{origin}", name=name, max_steps=steps, **keywords("GROUNDING"))
        else:
            extend(model, lane, init=init, name=name)
        describe(lane, name)
        publish(lane, folder, name)
        linked(lane / name, folder / name)
    return name


def describe(lane: Path, name: str) -> None:
    """Measure rows and language of a checkpoint."""
    from gti_cli.diagnostics.diagnose import diagnose

    diagnose([name], lane, name=name)
    language(lane, name, int(SETTINGS.get("LANGUAGE", "10")))


def publish(lane: Path, folder: Path, name: str) -> None:
    """Copy a lane's figures of ``name`` to the folder that report.py reads."""
    for kind in ("diagnostics", "evaluation"):
        (folder / kind).mkdir(exist_ok=True)
        linked(lane / kind / name, folder / kind / name)
    (folder / "language").mkdir(exist_ok=True)
    shutil.copy(lane / "language" / f"{name}.json", folder / "language")


def run(job: tuple[str, str, Path, str]) -> str:
    """Run one job in this process's lane and return a line about it; a job that fails does not stop the others."""
    data, model, folder, spec = job
    method, epochs, seed = spec.split(":")
    name = f"{method}-e{epochs}-s{seed}"
    try:
        return measure(data, model, folder, method, epochs, seed, name)
    except Exception:
        return f"{name}: failed\n{traceback.format_exc()}"
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def measure(data: str, model: str, folder: Path, method: str, epochs: str, seed: str, name: str) -> str:
    """Fine-tune, evaluate and diagnose."""
    from gti_cli.evaluation.evaluate import evaluate
    from gti_cli.recommendation.finetune import finetune

    if (folder / "runs" / f"{name}.json").exists():
        return f"{name}: kept"
    if time.monotonic() - STARTED > float(SETTINGS.get("LIMIT", "inf")):
        return f"{name}: no time"
    console.configure(quiet=True)
    began = start(folder, model, method)
    lane = lane_of(folder, f"lane-{os.getpid()}")
    linked(folder / began, lane / began)
    shop = Path(data) / "interactions.parquet"
    rate = method.partition("_")[2] or (str(RATE) if method.endswith("-plain") else ROWS)
    how: dict[str, Any] = {"epochs": float(epochs)} | keywords("FINETUNE")
    if "_" in method:
        how |= {"validations": 1, "rank_sample": 2000}
    if method.endswith("lc-rec"):
        how |= {"tasks": LC_REC, "max_steps": more_steps(folder, f"mean-e{epochs}-s{seed}")}
    finetune(
        shop,
        lane,
        from_=began,
        name=name,
        seed=int(seed),
        learning_rate=RATE,
        rows_learning_rate=None if rate == "auto" else float(rate),
        **how,
    )
    cut_offs = tuple(map(int, SETTINGS.get("K", "5,10,20").split(",")))
    evaluate(shop, lane, checkpoint=name, k=cut_offs, **keywords("EVALUATE"))
    describe(lane, name)
    publish(lane, folder, name)
    part = folder / "runs" / f"{name}.part"
    shutil.copy(lane / name / "gti.json", part)
    part.rename(part.with_suffix(".json"))
    shutil.rmtree(lane / name)
    return f"{name}: {time.monotonic() - STARTED:.0f} s"


def main(data: str, model: str, target: str, lanes: str, *jobs: str) -> None:
    """Make the semantic IDs, then run all jobs."""
    from gti_cli.semantic_ids.build import build_ids

    folder = Path(target)
    for name in ("runs", "lanes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / "semantic_ids.json").exists():
        build_ids(
            Path(data) / "items.parquet", folder, **json.loads(SETTINGS.get("IDS", '{"levels": 3, "codes": 256}'))
        )
    # A forked process cannot use CUDA.
    with multiprocessing.get_context("spawn").Pool(int(lanes)) as pool:
        todo = [(data, model, folder, job) for job in jobs]
        for done in pool.imap_unordered(run, todo):
            print(done, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
