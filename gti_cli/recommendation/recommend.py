"""`gti recommend`: items for a history, a query, or everyone in a table. Writes nothing into the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console, tables
from gti_cli.checkpoints.devices import choose_device, choose_dtype, seed_everything
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.limits import check_positions
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.parts import Searcher, SearchRequest, beams_for, extra_beams, search_parts
from gti_cli.decoding.search import RankedItems, first_items, item_groups
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError, examples
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.prompts.next_item import DEFAULT_HISTORY, cut_history, encode_items, frame, opening_ids
from gti_cli.prompts.query import encode_queries
from gti_cli.recommendation.requests import RecommendKeywords, RecommendOptions, Wanted, read_wanted
from gti_cli.tables import SemanticIDs
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Recommendation:
    """One line of the answer.

    Attributes:
        user_id: whose: the user's id, or the query's. rank: from 1. score: log-probability of the item's semantic ID.
    """

    user_id: str
    rank: int
    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Shop:
    """What is recommended from, and by what.

    Attributes:
        checkpoint, catalogue: as in the workspace. codes: token ids of each level's codes.
        rows: catalogue rows that may be recommended, ascending.
    """

    checkpoint: Checkpoint
    catalogue: SemanticIDs
    codes: list[np.ndarray]
    rows: np.ndarray


def recommend(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    queries: Mapping[str, str] | None = None,
    table: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    **keywords: Unpack[RecommendKeywords],
) -> list[Recommendation]:
    """Recommend the ``k`` most probable items to each user, or for each query.

    Args:
        checkpoint: default ``finetuned``. histories: user -> item ids, oldest first; or queries: id -> words; or
            table: of interactions, or of queries where it has a column `query`.
        keywords: see `RecommendOptions`.

    Returns:
        Lines by user or query, then rank. With fewer than ``k`` items left to recommend a list is shorter.

    Raises:
        InputError: unknown or no items, nothing left to recommend, too few beams, a checkpoint that does not fit,
            a seed out of range.
    """
    refuse_unknown(keywords, RecommendOptions)
    options = pick(RecommendOptions, keywords)
    options.check()
    check_seed(seed)
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    found = find_checkpoint(space, checkpoint, "finetuned", "gti finetune")
    check_same_ids(found, ids)
    codes = code_ids(found.item_tokens(), ids.details["sizes"])
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    wanted = read_wanted(histories, queries, table, row_of)
    shop = Shop(found, catalogue, codes, _allowed(row_of, options.exclude, options.only))
    seed_everything(seed)
    lists = _search(shop, wanted, options, device, dtype)
    short = sum(len(best.rows) < options.k for best in lists)
    if short:
        who = "queries" if wanted.histories is None else "users"
        console.warn(f"{short:,} of {len(lists):,} {who} have fewer than {options.k} items left to be recommended")
    return _lines(wanted.names, lists, catalogue, _titles(space))


def _allowed(row_of: Mapping[str, int], exclude: Path | str | None, only: Path | str | None) -> np.ndarray:
    """Rows of the items that may be recommended, ascending."""
    allowed = np.ones(len(row_of), dtype=bool)
    if only is not None:
        allowed[:] = False
        allowed[_listed(only, row_of)] = True
    if exclude is not None:
        allowed[_listed(exclude, row_of)] = False
    if not allowed.any():
        raise InputError("--only and --exclude leave no item to recommend", remedy="list other items")
    return np.flatnonzero(allowed)


def _listed(path: Path | str, row_of: Mapping[str, int]) -> list[int]:
    listed = tables.ids(tables.read(path, ["item_id"]), "item_id", path)
    unknown = list(dict.fromkeys(item for item in listed if item not in row_of))
    if unknown:
        row = listed.index(unknown[0]) + 1
        raise InputError(
            f"items that the catalogue does not have: {examples(unknown)}",
            where=f"{path}, column 'item_id', row {row:,}",
            remedy="drop them from the list",
        )
    return [row_of[item] for item in listed]


def _search(shop: Shop, wanted: Wanted, options: RecommendOptions, device: str, dtype: str) -> list[RankedItems]:
    """Top ``k`` catalogue rows for each user or query, from the shop's rows alone."""
    chosen = choose_device(device)
    tokenizer = load_tokenizer(shop.checkpoint.path)
    check_tokenizer(tokenizer, shop.checkpoint.item_tokens())
    prompts, seen = _prompts(shop, wanted, options, tokenizer)
    trie = build_trie(shop.catalogue.codes[shop.rows])
    model = load_model(shop.checkpoint.path, chosen, choose_dtype(dtype, chosen))
    longest = max(map(len, prompts)) + shop.catalogue.codes.shape[1] - 1  # the last code is not read
    remedy = "use a smaller --max-history" if wanted.queries is None else "use a model with more positions"
    check_positions(model.config, longest, shop.checkpoint.path, remedy=remedy)
    asked = SearchRequest(
        prompts,
        [extra_beams(len(hidden)) for hidden in seen],
        list_length=options.k,
        beams=beams_for(options.beams, options.k),
        exact=options.search == "exact",
    )
    answered = search_parts(
        Searcher(model, TrieTensors(trie, shop.codes, chosen), int(tokenizer.pad_token_id)),
        asked,
        batch_size=options.batch_size,
        description="Recommending",
        unit="users" if wanted.histories is not None else "queries",
    )
    if asked.exact:
        missed = answered.exact_counts()["semantic_ids_the_beam_missed"]
        console.note(f"the beam alone would have missed {missed:,} semantic IDs")
    place = {int(row): number for number, row in enumerate(shop.rows)}  # row of the catalogue -> row of the trie
    lists = []
    for user, hidden in enumerate(seen):
        groups = item_groups(answered.ranking, trie, user, [place[row] for row in hidden if row in place])
        best = first_items(groups, options.k)
        lists.append(RankedItems(shop.rows[best.rows].tolist(), best.scores))
    return lists


def _prompts(
    shop: Shop, wanted: Wanted, options: RecommendOptions, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[list[int]], list[set[int]]]:
    """Token ids of each prompt, and the catalogue rows that its list must not have."""
    first = shop.catalogue.tokens[0]
    if wanted.queries is not None:
        found, cut_off = encode_queries(tokenizer, list(wanted.queries.values()))
        if cut_off:
            console.note(f"{cut_off:,} queries are longer than a prompt shows, and were cut")
        behind = opening_ids(tokenizer, first)
        return [[*prompt, *behind] for prompt in found], [set() for _ in found]
    assert wanted.histories is not None
    row_of, around = shop.catalogue.row_of(), frame(tokenizer, first)
    tokens = encode_items(tokenizer, shop.catalogue.tokens, shop.checkpoint.item_tokens()).tolist()
    shown = _shown(shop.checkpoint, wanted.histories, options.max_history)
    prompts = [around.search_prompt([tokens[row_of[item]] for item in items]) for items in shown]
    histories = wanted.histories.values()
    return prompts, [{row_of[item] for item in items} if options.filter_seen else set() for items in histories]


def _shown(checkpoint: Checkpoint, histories: Mapping[str, Sequence[str]], given: int | None) -> list[list[str]]:
    """The items that each prompt shows; says what is cut."""
    most = checkpoint.history_length(given, "--max-history", DEFAULT_HISTORY)
    pairs = [cut_history(items, most) for items in histories.values()]
    cut_off = sum(count for _, count in pairs)
    if cut_off:
        console.note(f"{cut_off:,} items lie further back than the {most} that a prompt shows")
    return [items for items, _ in pairs]


def _titles(space: Workspace) -> dict[str, str]:
    """Title of each item by its id (its whole text where the catalogue has no titles)."""
    path = space.path("items.parquet")
    table = tables.read(path, ["item_id"])
    column = "title" if "title" in table.column_names else "text"
    return dict(zip(tables.ids(table, "item_id", path), tables.strings(table, column, path), strict=True))


def _lines(
    users: list[str], lists: list[RankedItems], catalogue: SemanticIDs, titles: Mapping[str, str]
) -> list[Recommendation]:
    return [
        Recommendation(user, rank, catalogue.item_ids[row], titles.get(catalogue.item_ids[row], ""), score)
        for user, found in zip(users, lists, strict=True)
        for rank, (row, score) in enumerate(zip(found.rows, found.scores, strict=True), start=1)
    ]
