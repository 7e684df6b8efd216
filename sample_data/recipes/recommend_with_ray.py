"""Lists for the users of many Parquet files, on all machines of a Ray cluster: `gti_cli.Recommender` in Ray Data.

    pip install gti-cli ray
    python recommend_with_ray.py shard INTERACTIONS HISTORIES --shards 16
    python recommend_with_ray.py recommend HISTORIES LISTS --workspace demo --checkpoint prior --workers 2

`shard` turns a table of interactions into files with a row for each user: `user_id`, and `history` with item ids,
oldest first. `recommend` starts workers. Each loads the recommender once and then answers batches of users. LISTS gets
Parquet files with the columns of `gti recommend --output`. Where no cluster is given (RAY_ADDRESS), Ray starts on this
machine. HISTORIES, LISTS and the workspace lie where every machine can read them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LISTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int64()),
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("score", pa.float64()),
        ("proven", pa.bool_()),
    ]
)


class Lists:
    """What a worker is: a recommender that stays in memory, and answers batches of users."""

    def __init__(self, workspace: str, checkpoint: str, options: dict[str, Any], device: str = "auto") -> None:
        """Load the recommender, once for all batches of the worker."""
        from gti_cli import Recommender

        self._recommender, self._options = Recommender.load(workspace, checkpoint, device=device), options

    def __call__(self, users: pa.Table) -> pa.Table:
        """The lists of a batch of users, a row for each item of a list."""
        names, histories = users["user_id"].to_pylist(), users["history"].to_pylist()
        found = self._recommender.recommend(histories, batch_size=32, **self._options)
        rows = [
            {"user_id": name, "proven": answer.proven, **vars(item)}
            for name, answer in zip(names, found, strict=True)
            for item in answer.items
        ]
        return pa.Table.from_pylist(rows, schema=LISTS)


def write_histories(interactions: Path, folder: Path, shards: int) -> None:
    """Write a row for each user, with the items oldest first, divided into ``shards`` files."""
    table = pq.read_table(interactions, columns=["user_id", "item_id", "timestamp"])
    table = table.append_column("row", pa.array(range(table.num_rows)))  # items of one time stay in the file's order
    table = table.sort_by([(name, "ascending") for name in ("user_id", "timestamp", "row")])
    users = table.group_by("user_id", use_threads=False).aggregate([("item_id", "list")])
    users = users.select(["user_id", "item_id_list"]).rename_columns(["user_id", "history"])
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-users.num_rows // shards)  # rounded up
    for number, start in enumerate(range(0, users.num_rows, size)):
        pq.write_table(users.slice(start, size), folder / f"users-{number:05d}.parquet")


def recommend(
    histories: Path,
    lists: Path,
    *,
    workspace: Path,
    checkpoint: str,
    workers: int,
    options: dict[str, Any],
    users_at_once: int = 256,
) -> None:
    """Answer all users of a folder of files, on the Ray that has been started (``ray.init``).

    Args:
        histories: Folder of Parquet files with the columns `user_id` and `history`.
        lists: Folder for the lists; it must not exist, so that no old files are among the new ones.
        workspace: A workspace, or the folder of ``gti export recommender``.
        checkpoint: Name of a checkpoint or of a blend.
        workers: Number of recommenders, with a GPU for each where there are enough.
        options: Keywords of `Recommender.recommend`.
        users_at_once: Users in a batch.
    """
    import ray

    if lists.exists():
        raise SystemExit(f"{lists} exists: remove it, or name another folder")
    resources = ray.cluster_resources()
    # One processor is left to the tasks that read and write files: they would wait for ever if workers held all.
    processors = (resources["CPU"] - 1) / workers
    # Ray puts small files together; blocks of so many users give every worker something to do.
    users = ray.data.read_parquet(str(histories.resolve())).select_columns(["user_id", "history"])
    users = users.repartition(target_num_rows_per_block=users_at_once)
    users.map_batches(
        Lists,
        fn_constructor_args=(str(workspace.resolve()), checkpoint, options),
        batch_format="pyarrow",
        batch_size=users_at_once,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=int(processors) if processors >= 1 else round(processors, 2),
        num_gpus=1 if resources.get("GPU", 0) >= workers else 0,
    ).write_parquet(str(lists.resolve()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shard = commands.add_parser("shard", help="interactions to histories")
    shard.add_argument("interactions", type=Path)
    shard.add_argument("histories", type=Path)
    shard.add_argument("--shards", type=int, default=16)
    answer = commands.add_parser("recommend", help="histories to lists")
    answer.add_argument("histories", type=Path)
    answer.add_argument("lists", type=Path)
    answer.add_argument("--workspace", type=Path, default=Path("gti-workspace"))
    answer.add_argument("--checkpoint", default="finetuned")
    answer.add_argument("--workers", type=int, default=2)
    answer.add_argument("-k", type=int, default=10, help="items for each user")
    answer.add_argument("--search", default="beam", choices=["beam", "exact"])
    answer.add_argument("--filter-seen", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "shard":
        write_histories(arguments.interactions, arguments.histories, arguments.shards)
        return
    import ray

    ray.init()
    options = {"k": arguments.k, "search": arguments.search, "filter_seen": arguments.filter_seen}
    recommend(
        arguments.histories,
        arguments.lists,
        workspace=arguments.workspace,
        checkpoint=arguments.checkpoint,
        workers=arguments.workers,
        options=options,
    )


if __name__ == "__main__":
    main()
