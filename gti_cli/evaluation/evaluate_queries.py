"""`gti evaluate --queries`: items for queries, all graded items of each query counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.decoding.parts import SearchRequest, SearchResult
from gti_cli.decoding.search import first_items, item_groups
from gti_cli.decoding.trie import Trie
from gti_cli.errors import InputError
from gti_cli.evaluation.baselines.base import top
from gti_cli.evaluation.baselines.bm25 import BM25
from gti_cli.evaluation.baselines.cache import Measured, write_baselines
from gti_cli.evaluation.lists import as_table, write_lists
from gti_cli.evaluation.metrics.graded import columns, groups_of, measure
from gti_cli.evaluation.metrics.intervals import bounds
from gti_cli.evaluation.metrics.ranking import averages, of_lists
from gti_cli.evaluation.metrics.slices import query_masks, sliced
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.plan import Plan, output_name, run_stage
from gti_cli.evaluation.sample import drawn
from gti_cli.options import RunOptions
from gti_cli.prompts.next_item import opening_ids
from gti_cli.prompts.query import encode_queries
from gti_cli.tables.queries import GOOD, MAYBE, Queries, Query, read_queries
from gti_cli.workspace import StageRun, write_json
from gti_cli.workspace.manifest import Manifest

Floats = npt.NDArray[np.float64]

_QUERIES = 256  # queries scored at a time by a baseline


def evaluate_queries(plan: Plan, path: Path | str, name: str | None, how: RunOptions) -> Manifest:
    """The stage on a table of queries; see `gti_cli.evaluation.evaluate.evaluate`.

    Queries of the part without any good item are left out, and counted.

    Raises:
        InputError: no query of that part has a good item; an option that is for users alone.
    """
    if plan.options.filter_seen:
        raise InputError("--filter-seen is about histories, and queries have none", remedy="leave it out")
    if plan.options.baselines != EvaluateOptions.baselines:
        raise InputError("--baselines are for users; queries have popularity and bm25", remedy="leave it out")
    queries = read_queries(path, plan.catalogue.row_of())
    asked = [query for query in queries.part(plan.options.split) if query.items(GOOD)]
    if not asked:
        raise InputError(f"no {plan.options.split} query has an item of relevance {GOOD}", where=str(path))
    all_of_them = len(asked)
    asked = drawn(asked, lambda query: query.query_id, plan.options.sample, plan.seed)
    bad = len(queries.part(plan.options.split)) - all_of_them
    artifact = output_name(plan, name, "-search")
    return run_stage(
        plan,
        artifact,
        how,
        lambda trie, run: _search(plan, asked, trie, run),
        lambda trie, answered, run: _report(plan, queries, asked, trie, answered, run, run.path(artifact)),
        options={},
        inputs={"queries": path},
        details={},
        counts={"not_drawn": all_of_them - len(asked), "left_out_without_good": bad},
    )


def _search(plan: Plan, queries: Sequence[Query], trie: Trie, run: StageRun) -> SearchResult:
    tokenizer, searcher = plan.load(trie)
    prompts, run.counts["queries_cut"] = encode_queries(tokenizer, [query.text for query in queries])
    behind = opening_ids(tokenizer, plan.catalogue.tokens[0])
    asked = SearchRequest(
        [[*prompt, *behind] for prompt in prompts],
        [0] * len(prompts),
        list_length=plan.options.ks[-1],
        beams=int(plan.options.beams or 0),
        exact=plan.options.search == "exact",
    )
    return plan.search(searcher, asked, run, "Searching", "queries")


def _report(
    plan: Plan,
    queries: Queries,
    asked: Sequence[Query],
    trie: Trie,
    answered: SearchResult,
    run: StageRun,
    folder: Path,
) -> None:
    ks, row_of = plan.options.ks, plan.catalogue.row_of()
    grades = [{row_of[item]: grade for item, grade in query.relevance.items()} for query in asked]
    found = [item_groups(answered.ranking, trie, number) for number in range(len(asked))]
    values = _measured([[rows for rows, _ in groups] for groups in found], grades, ks)
    lists = [first_items(groups, ks[-1]) for groups in found]
    counts = train_counts(queries.train, row_of)
    names = [query.query_id for query in asked]
    baselines = _baselines(plan, asked, grades, counts)
    run.metrics.update(
        metrics={**averages(values), **of_lists(as_table(lists, ks[-1]), ks, counts)},
        baselines={name: one.metrics for name, one in baselines.items()},
        tuning={},
        intervals=bounds(values, names),
        baseline_intervals={name: bounds(one.values, names) for name, one in baselines.items()},
        slices=sliced(values, query_masks(asked, queries.train), "queries"),
    )
    run.counts.update(
        queries.counts,
        evaluated=len(asked),
        catalogue=len(row_of),
        semantic_ids=trie.leaves,
        beams=plan.options.beams,
        lists_shorter_than_k=sum(len(one.rows) < ks[-1] for one in lists),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    write_lists(folder, "query_id", names, lists, plan.catalogue.item_ids)
    keys = _keys(asked)
    tables.write(folder / "per_query.parquet", {**keys, **values})
    write_baselines(folder, keys, baselines)


def train_counts(train: Sequence[Query], row_of: Mapping[str, int]) -> Floats:
    """(N,) number of training queries for which each item is good."""
    rows = [row_of[item] for query in train for item in query.items(GOOD)]
    return np.bincount(np.asarray(rows, dtype=np.int64), minlength=len(row_of)).astype(np.float64)


def _measured(
    rankings: Sequence[Sequence[Sequence[int]]], grades: Sequence[Mapping[int, int]], ks: Sequence[int]
) -> dict[str, Floats]:
    """Metric -> (Q,) from each query's groups of catalogue rows, best first, and its graded rows."""
    found = []
    for groups, known in zip(rankings, grades, strict=True):
        judged = list(known.values())
        found.append(measure(groups_of(groups, known), judged.count(GOOD), judged.count(MAYBE), ks))
    return columns(found)


def _baselines(
    plan: Plan, asked: Sequence[Query], grades: Sequence[Mapping[int, int]], counts: Floats
) -> dict[str, Measured]:
    """``popularity`` (good for so many training queries) and ``bm25``, if there are words."""
    path = plan.space.path("items.parquet")
    table = tables.read(path, ["item_id", "text"])
    text_of = dict(zip(tables.ids(table, "item_id", path), tables.strings(table, "text", path), strict=True))
    texts = [text_of[item] for item in plan.catalogue.item_ids]
    popular = np.where(counts > 0, counts, -np.inf)
    methods: dict[str, Callable[[Sequence[str]], Floats]] = {
        "popularity": lambda texts: np.tile(popular, (len(texts), 1)),
    }
    if any(re.search(r"\w", text) for text in texts):
        methods[BM25.name] = BM25(texts).scores
    else:
        console.warn(f"no item's text has a word: the baseline {BM25.name} is left out")
    found = {}
    for name, score in methods.items():
        values, shown = _ranked(name, score, asked, grades, plan.options.ks)
        found[name] = Measured({**averages(values), **of_lists(shown, plan.options.ks, counts)}, values)
    return found


def _ranked(
    name: str,
    score: Callable[[Sequence[str]], Floats],
    asked: Sequence[Query],
    grades: Sequence[Mapping[int, int]],
    ks: Sequence[int],
) -> tuple[dict[str, Floats], npt.NDArray[np.int64]]:
    """Metrics of each query, and (Q, k) catalogue rows as they would be shown."""
    rankings: list[list[list[int]]] = []
    shown: list[npt.NDArray[np.int64]] = []
    with console.progress(f"Baseline {name}", len(asked), "queries") as advance:
        for start in range(0, len(asked), _QUERIES):
            part = asked[start : start + _QUERIES]
            scores = score([query.text for query in part])
            rankings += [tied(row, ks[-1]) for row in scores]
            shown.append(top(scores, ks[-1]))
            advance(len(part))
    return _measured(rankings, grades, ks), np.concatenate(shown)


def tied(scores: Floats, k: int) -> list[list[int]]:
    """Columns of ``scores`` (N,), best first, in groups of equal scores, until ``k`` are reached; -inf is left out."""
    k = min(k, len(scores))
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    inside = np.flatnonzero((scores >= bound) & np.isfinite(scores))
    ordered = inside[np.argsort(-scores[inside], kind="stable")]
    if not len(ordered):
        return []
    starts = np.flatnonzero(np.diff(scores[ordered])) + 1
    return [group.tolist() for group in np.split(ordered, starts)]


def _keys(asked: Sequence[Query]) -> dict[str, Any]:
    """What ``per_query.parquet`` says of each query, one row a query."""
    judged: list[list[int]] = [list(query.relevance.values()) for query in asked]
    return {
        "query_id": [query.query_id for query in asked],
        "query": [query.text for query in asked],
        "good": np.asarray([grades.count(GOOD) for grades in judged], dtype=np.int32),
        "maybe": np.asarray([grades.count(MAYBE) for grades in judged], dtype=np.int32),
    }
