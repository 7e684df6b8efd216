"""`gti evaluate --queries`: items ranked for each query, judged by all graded items of the query.

From a query to the metrics: `gti_cli.decoding.search_parts` searches for the best semantic IDs,
`gti_cli.decoding.ranked_items` turns them into groups of items, and `gti_cli.metrics.graded` turns groups
and grades into numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.baselines.bm25 import BM25
from gti_cli.baselines.ranking.top_columns import top_columns
from gti_cli.baselines.results import BaselineResult, write_baseline_tables
from gti_cli.cards.trained_tasks import say_if_untrained
from gti_cli.decoding.ranked_items import first_of_each, item_groups
from gti_cli.decoding.search_parts import SearchRequest, SearchResult
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.errors import InputError
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.plan import EvaluationPlan, open_stage, output_name
from gti_cli.evaluation.plot import remove_pictures
from gti_cli.evaluation.recommended_lists import as_strings, write_lists
from gti_cli.evaluation.sample import draw_sample
from gti_cli.metrics.graded import as_columns, count_grades, query_metrics
from gti_cli.metrics.intervals import bounds
from gti_cli.metrics.ranking import averages, list_metrics
from gti_cli.metrics.slices import good_in_training, query_slices, slice_means
from gti_cli.options import RunOptions
from gti_cli.prompts.next_item import opening_ids
from gti_cli.prompts.query import encode_queries
from gti_cli.prompts.text_as_data import note_naming
from gti_cli.tables.arrays.query_lists import QueryLists
from gti_cli.tables.queries import GOOD, MAYBE, Queries, Query, read_queries
from gti_cli.workspace import StageRun, processes, write_json
from gti_cli.workspace.manifest import Manifest

Floats = npt.NDArray[np.float64]

_QUERIES_AT_ONCE = 256  # Queries that a baseline scores at a time.


def evaluate_queries(plan: EvaluationPlan, path: Path | str, name: str | None, run_options: RunOptions) -> Manifest:
    """Run the stage on a table of queries; called by `gti_cli.evaluation.evaluate.evaluate`.

    Queries without any good item are left out and counted.

    Args:
        plan: Checkpoint, catalogue and options.
        path: Table of queries.
        name: Name of the output below ``evaluation/`` (None: the checkpoint's, with ``-search`` added).
        run_options: Seed, and whether to replace or resume.

    Raises:
        InputError: When no query of the split has a good item, or an option is given that is for users alone.
    """
    if plan.options.filter_seen:
        raise InputError("--filter-seen is about histories, and queries have none", remedy="leave it out")
    if plan.options.baselines != EvaluateOptions.baselines:
        raise InputError("--baselines are for users; queries have popularity and bm25", remedy="leave it out")
    queries = read_queries(path, plan.catalogue.row_of())
    asked = QueryLists.of(queries.part(plan.options.split))
    with_good = asked.take(np.flatnonzero(asked.counts(GOOD)))
    if not len(with_good):
        raise InputError(f"no {plan.options.split} query has an item of relevance {GOOD}", where=str(path))
    drawn = draw_sample(with_good, lambda query: query.query_id, plan.options.sample, plan.seed)
    evaluated = QueryLists.of(drawn)
    artifact = output_name(plan, name, "-search")
    with open_stage(
        plan,
        artifact,
        run_options,
        options={},
        inputs={"queries": path},
        details=say_if_untrained(plan.space, plan.checkpoint, "queries"),
        counts={"not_drawn": len(with_good) - len(evaluated), "left_out_without_good": len(asked) - len(with_good)},
    ) as run:
        if not run.done:
            trie = build_trie(plan.catalogue.codes)
            result = _search(plan, evaluated, trie, run)
            if processes.rank() == 0:
                _write_results(plan, queries, evaluated, trie, result, run, run.path(artifact))
                remove_pictures(plan.space, artifact)
    return run.result()


def _search(plan: EvaluationPlan, queries: QueryLists, trie: Trie, run: StageRun) -> SearchResult:
    """Make every query's prompt, and search for the best semantic IDs after it, in the order of ``queries``."""
    tokenizer, searcher, _ = plan.load(trie)  # A behaviour prior speaks of histories; a query has none.
    prompts, shown = encode_queries(tokenizer, [query.text for query in queries])
    run.counts.update(queries_cut=shown.cut, queries_naming_tokens=shown.naming)
    note_naming(shown.naming, len(queries), "queries")
    opening = opening_ids(tokenizer, plan.catalogue.tokens[0])
    request = SearchRequest(
        [[*prompt, *opening] for prompt in prompts],
        [0] * len(prompts),
        list_length=plan.options.ks[-1],
        beams=int(plan.options.beams or 0),
        exact=plan.options.search == "exact",
    )
    return plan.search(searcher, request, run, "Searching", "queries")


def _write_results(
    plan: EvaluationPlan,
    queries: Queries,
    evaluated: QueryLists,
    trie: Trie,
    result: SearchResult,
    run: StageRun,
    folder: Path,
) -> None:
    """Compute all metrics from the search's result, and write ``metrics.json`` and the tables into ``folder``."""
    ks, row_of = plan.options.ks, plan.catalogue.row_of()
    parts = []
    for part in _parts(len(evaluated)):
        groups = [item_groups(result.ranking, trie, number) for number in range(part.start, part.stop)]
        parts.append(_per_query([[rows for rows, _ in of_query] for of_query in groups], evaluated[part], row_of, ks))
    values = _joined(parts)
    lists = first_of_each(result.ranking, trie, ks[-1])
    counts = _count_good(queries.train, row_of)
    query_ids = evaluated.table.names.take(evaluated.numbers)
    baselines = _evaluate_baselines(plan, evaluated, row_of, counts)
    slices = query_slices(evaluated, queries.train)
    run.metrics.update(
        metrics={**averages(values), **list_metrics(lists.table(ks[-1]), ks, counts)},
        baselines={name: baseline.metrics for name, baseline in baselines.items()},
        tuning={},
        intervals=bounds(values, query_ids),
        baseline_intervals={name: bounds(baseline.values, query_ids) for name, baseline in baselines.items()},
        slices=slice_means(values, slices, "queries"),
        baseline_slices={name: slice_means(item.values, slices, "queries") for name, item in baselines.items()},
    )
    run.counts.update(
        queries.counts,
        evaluated=len(evaluated),
        catalogue=len(row_of),
        semantic_ids=trie.leaves,
        beams=plan.options.beams,
        lists_shorter_than_k=int((lists.lengths < ks[-1]).sum()),
    )
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", {**run.metrics, "counts": run.counts})
    write_lists(folder, "query_id", query_ids, lists, plan.catalogue.item_ids)
    keys = _key_columns(evaluated)
    shown_in_training = {"good_items_good_in_training": good_in_training(evaluated, queries.train)}
    tables.write(folder / "per_query.parquet", {**keys, **shown_in_training, **values})
    write_baseline_tables(folder, keys, baselines)


def _count_good(train: Sequence[Query], row_of: Mapping[str, int]) -> Floats:
    """(N,) number of training queries for which each item is good."""
    rows = [row_of[item] for query in train for item in query.items(GOOD)]
    return np.bincount(np.asarray(rows, dtype=np.int64), minlength=len(row_of)).astype(np.float64)


def _parts(count: int) -> Iterator[slice]:
    """Some queries at a time: their groups and grades are Python objects."""
    for start in range(0, count, _QUERIES_AT_ONCE):
        yield slice(start, min(start + _QUERIES_AT_ONCE, count))


def _joined(parts: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """The values of each metric of all parts, one behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _per_query(
    rankings: Sequence[Sequence[Sequence[int]]], queries: Sequence[Query], row_of: Mapping[str, int], ks: Sequence[int]
) -> dict[str, Floats]:
    """Compute every metric for some queries.

    Args:
        rankings: For each query, groups of catalogue rows, best first.
        queries: The Q queries.
        row_of: Catalogue row of each item id.
        ks: Cut-offs.

    Returns:
        (Q,) values of each metric.
    """
    rows = []
    for groups, query in zip(rankings, queries, strict=True):
        grade_of = {row_of[item]: grade for item, grade in query.relevance.items()}
        judged = list(grade_of.values())
        rows.append(query_metrics(count_grades(groups, grade_of), judged.count(GOOD), judged.count(MAYBE), ks))
    return as_columns(rows)


def _evaluate_baselines(
    plan: EvaluationPlan, evaluated: QueryLists, row_of: Mapping[str, int], counts: Floats
) -> dict[str, BaselineResult]:
    """Evaluate ``popularity`` (for how many training queries an item is good) and, if items have words, ``bm25``."""
    path = plan.space.path("items.parquet")
    table = tables.read(path, ["item_id", "text"])
    text_of = dict(zip(tables.ids(table, "item_id", path), tables.strings(table, "text", path), strict=True))
    texts = [text_of[item] for item in plan.catalogue.item_ids]
    popularity = np.where(counts > 0, counts, -np.inf)
    methods: dict[str, Callable[[Sequence[str]], Floats]] = {
        "popularity": lambda texts: np.tile(popularity, (len(texts), 1)),
    }
    if any(re.search(r"\w", text) for text in texts):
        methods[BM25.name] = BM25(texts).scores
    else:
        console.warn(f"no item's text has a word: the baseline {BM25.name} is left out")
    results = {}
    for name, score in methods.items():
        values, lists = _rank_by_baseline(name, score, evaluated, row_of, plan.options.ks)
        results[name] = BaselineResult({**averages(values), **list_metrics(lists, plan.options.ks, counts)}, values)
    return results


def _rank_by_baseline(
    name: str,
    score: Callable[[Sequence[str]], Floats],
    evaluated: QueryLists,
    row_of: Mapping[str, int],
    ks: Sequence[int],
) -> tuple[dict[str, Floats], npt.NDArray[np.int64]]:
    """Rank all items for every query by a baseline's scores.

    Args:
        name: Name of the baseline, for the progress bar.
        score: Gives (Q, N) scores of all items for the texts of queries.
        evaluated: The Q queries that are evaluated.
        row_of: Catalogue row of each item id.
        ks: Cut-offs.

    Returns:
        (Q,) values of each metric, and (Q, k) catalogue rows of the lists, with -1 after the last.
    """
    parts: list[dict[str, Floats]] = []
    lists: list[npt.NDArray[np.int64]] = []
    with console.progress(f"Baseline {name}", len(evaluated), "queries") as advance:
        for part in _parts(len(evaluated)):
            queries = evaluated[part]
            scores = score([query.text for query in queries])
            parts.append(_per_query([tied_groups(row, ks[-1]) for row in scores], queries, row_of, ks))
            lists.append(top_columns(scores, ks[-1]))
            advance(len(queries))
    return _joined(parts), np.concatenate(lists)


def tied_groups(scores: Floats, k: int) -> list[list[int]]:
    """Group the best columns by equal score, best first.

    Args:
        scores: (N,), -inf for what is not recommended.
        k: Columns to reach. The last group may go beyond it: a tie is never cut.
    """
    k = min(k, len(scores))
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    inside = np.flatnonzero((scores >= bound) & np.isfinite(scores))
    ordered = inside[np.argsort(-scores[inside], kind="stable")]
    if not len(ordered):
        return []
    starts = np.flatnonzero(np.diff(scores[ordered])) + 1
    return [group.tolist() for group in np.split(ordered, starts)]


def _key_columns(evaluated: QueryLists) -> dict[str, Any]:
    """The columns of ``per_query.parquet`` that describe the queries, one row a query."""
    return {
        "query_id": as_strings(evaluated.table.names.take(evaluated.numbers)),
        "query": as_strings(evaluated.table.texts.take(evaluated.numbers)),
        "good": evaluated.counts(GOOD).astype(np.int32),
        "maybe": evaluated.counts(MAYBE).astype(np.int32),
    }
