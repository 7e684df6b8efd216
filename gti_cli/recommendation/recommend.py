"""`gti recommend`: items for a history, for a query, or for each row of a table. It writes nothing to the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.blends.stored_blend import blend_name
from gti_cli.cards.trained_tasks import say_if_untrained
from gti_cli.checkpoints.devices import choose_device, choose_dtype, seed_everything
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.limits import check_positions
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.ranked_items import RankedItems, first_items, item_groups
from gti_cli.decoding.search_parts import (
    ScoreRequest,
    Searcher,
    SearchRequest,
    SearchResult,
    beams_for,
    extra_beams,
    search_parts,
)
from gti_cli.options import check_seed, pick, refuse_unknown
from gti_cli.prompts.next_item import DEFAULT_HISTORY, cut_history, encode_items, make_frame, opening_ids
from gti_cli.prompts.query import encode_queries
from gti_cli.recommendation.listing.allowed import allowed_rows
from gti_cli.recommendation.listing.blended import recommend_by_blend
from gti_cli.recommendation.listing.candidates import leave_out, rank_candidates, read_candidates
from gti_cli.recommendation.listing.recommendations import Recommendations, as_recommendations
from gti_cli.recommendation.listing.recommender import Recommender
from gti_cli.recommendation.requests import (
    EXACT_PREFIXES,
    RecommendationRequests,
    RecommendKeywords,
    RecommendOptions,
    read_requests,
)
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Unpack


def recommend(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    base: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    queries: Mapping[str, str] | None = None,
    table: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    columns: str | None = None,
    **keywords: Unpack[RecommendKeywords],
) -> Recommendations:
    """Recommend the ``k`` most probable items to each user, or for each query; of candidates, where they are given.

    Exactly one of ``histories``, ``queries`` and ``table`` is given.

    Args:
        workspace: Folder of the workspace.
        checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None: ``finetuned``.
        base: Base model of an adapter. None: the one that it names.
        histories: Item ids of each user, oldest first.
        queries: Words of each query.
        table: Table of interactions, or of queries where it has a column `query`.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        columns: What the columns of the tables are called, see `gti_cli.tables.locate`.
        **keywords: See `RecommendOptions` and `InteractionOptions`.

    Returns:
        The items by user or query, then by rank. A list is shorter than ``k`` where fewer items may be recommended.

    Raises:
        InputError: When items are unknown, or there are none to show or to recommend.
        InputError: When an option is out of range, or the checkpoint does not fit the semantic IDs.
    """
    refuse_unknown(keywords, RecommendOptions, InteractionOptions)
    options, reading = pick(RecommendOptions, keywords), pick(InteractionOptions, keywords)
    options.check()
    reading.check(reads_table=table is not None)
    check_seed(seed)
    table, exclude, only, listed = tables.locate_all(
        [table, options.exclude, options.only, options.candidates], columns
    )
    space = Workspace(workspace)
    blend = blend_name(space, checkpoint)
    if blend is not None:
        seed_everything(seed)
        chosen, requested = replace(options, exclude=exclude, only=only), (histories, queries, table)
        by_blend = recommend_by_blend(space, blend, requested, reading, chosen, device=device, dtype=dtype)
        names, lists = by_blend.names, by_blend.lists
        return as_recommendations(names, lists, [True] * len(names), by_blend.catalogue.item_ids, _titles(space))
    ids = space.require("semantic_ids", "gti build-ids")
    source = find_checkpoint(space, checkpoint, "finetuned", "gti finetune", adapters=True, base=base)
    check_same_ids(source, ids)
    token_ids = code_ids(source.item_tokens(), ids.details["sizes"])
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    requests = read_requests(histories, queries, table, row_of, reading)
    candidates = None
    if listed is not None:
        candidates = read_candidates(listed, requests, row_of, names_are_given=table is not None)
    untrained = say_if_untrained(space, source, "histories" if requests.histories is not None else "queries")
    recommender = Recommender(source, catalogue, token_ids, allowed_rows(row_of, exclude, only), candidates)
    seed_everything(seed)
    lists, proven = _search(recommender, requests, options, device, dtype)
    short = sum(len(items.rows) < options.k for items in lists)
    if short and candidates is None:
        who = "queries" if requests.histories is None else "users"
        console.warn(f"{short:,} of {len(lists):,} {who} have fewer than {options.k} items left to be recommended")
    recommendations = as_recommendations(requests.names, lists, proven, catalogue.item_ids, _titles(space), candidates)
    recommendations.never_trained_on = untrained.get("never_trained_on")
    return recommendations


def _search(
    recommender: Recommender, requests: RecommendationRequests, options: RecommendOptions, device: str, dtype: str
) -> tuple[list[RankedItems], list[bool]]:
    """The top ``k`` of the allowed rows, or of the candidates, for each request, and whether that is proven."""
    chosen = choose_device(device)
    tokenizer = recommender.checkpoint.load_tokenizer()
    check_tokenizer(tokenizer, recommender.checkpoint.item_tokens())
    prompts, hidden_rows, shown = _prompts(recommender, requests, options, tokenizer)
    candidates = recommender.candidates
    if candidates is not None:
        candidates = leave_out(candidates, recommender.rows, hidden_rows, requests.unit)
    model = recommender.checkpoint.load_model(chosen, choose_dtype(dtype, chosen))
    longest = max(map(len, prompts)) + recommender.catalogue.codes.shape[1] - 1  # the last code is never read
    remedy = "use a smaller --max-history" if requests.queries is None else "use a model with more positions"
    check_positions(model.config, longest, recommender.checkpoint.path, remedy=remedy)
    pad_id = int(tokenizer.pad_token_id)
    # Candidates are scored in the trie of the whole catalogue; a search goes through that of the allowed items.
    trie = recommender.trie(whole=candidates is not None)
    prior = recommender.prior(trie, chosen) if shown is not None else None
    masses = prior.masses(shown) if prior is not None and shown is not None else None
    tensors = TrieTensors(trie, recommender.code_ids, chosen)
    searcher = Searcher(model, tensors, pad_id, prior.model if prior is not None else None)
    if candidates is not None:
        request = ScoreRequest(prompts, candidates.lists, masses)
        lists = rank_candidates(searcher, request, k=options.k, batch_size=options.batch_size, unit=requests.unit)
        return lists, [True] * len(lists)  # Every candidate is scored, so nothing is missing.
    search = SearchRequest(
        prompts,
        [extra_beams(len(hidden)) for hidden in hidden_rows],
        list_length=options.k,
        beams=beams_for(options.beams, options.k),
        exact=options.is_exact(len(prompts)),
        most_prefixes=EXACT_PREFIXES if options.search == "auto" else None,
        masses=masses,
    )
    unit = "users" if requests.histories is not None else "queries"
    answer = search_parts(
        searcher,
        search,
        batch_size=options.batch_size,
        description="Recommending",
        unit=unit,
    )
    unproven = answer.unproven(search)
    _say_what_may_be_missing(search, answer, options, unit)
    # The trie holds the allowed rows only, so its row numbers differ from those of the catalogue.
    trie_row_of = {int(row): number for number, row in enumerate(recommender.rows)}
    lists = []
    for number, hidden in enumerate(hidden_rows):
        groups = item_groups(answer.ranking, trie, number, [trie_row_of[row] for row in hidden if row in trie_row_of])
        best = first_items(groups, options.k)
        lists.append(RankedItems(recommender.rows[best.rows].tolist(), best.scores))
    return lists, (~unproven).tolist()


def _say_what_may_be_missing(search: SearchRequest, answer: SearchResult, options: RecommendOptions, unit: str) -> None:
    """Say for how many users or queries the lists are not proven to be the best, and what would prove them."""
    if options.search == "exact":
        missed = answer.exact_counts()["semantic_ids_the_beam_missed"]
        console.note(f"the beam alone would have missed {missed:,} semantic IDs")
    unproven = int(answer.unproven(search).sum())
    if not unproven:
        return
    stopped = f"--search auto ends after {EXACT_PREFIXES:,} prefixes for each"
    console.warn(
        f"more probable items than those listed may be missing for {unproven:,} of {len(search.prompts):,} {unit}, "
        f"since {stopped if search.exact else 'a beam drops prefixes'}: use --search exact"
        f"{'' if search.exact else ', or more --beams'}"
    )


def _prompts(
    recommender: Recommender,
    requests: RecommendationRequests,
    options: RecommendOptions,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[list[int]], list[set[int]], list[list[int]] | None]:
    """Token ids of each prompt, the catalogue rows that its list must not have, and those that a history shows."""
    catalogue = recommender.catalogue
    if requests.queries is not None:
        query_prompts, cut_off = encode_queries(tokenizer, list(requests.queries.values()))
        if cut_off:
            console.note(f"{cut_off:,} queries are longer than a prompt shows, and were cut")
        opening = opening_ids(tokenizer, catalogue.tokens[0])
        return [[*prompt, *opening] for prompt in query_prompts], [set() for _ in query_prompts], None
    assert requests.histories is not None
    row_of, prompt_frame = catalogue.row_of(), make_frame(tokenizer, catalogue.tokens[0])
    item_token_ids = encode_items(tokenizer, catalogue.tokens, recommender.checkpoint.item_tokens()).tolist()
    cut = _shown_items(recommender.checkpoint, requests.histories, options.max_history)
    shown = [[row_of[item] for item in items] for items in cut]
    prompts = [prompt_frame.search_prompt([item_token_ids[row] for row in rows]) for rows in shown]
    histories = requests.histories.values()
    hidden = [{row_of[item] for item in items} if options.filter_seen else set() for items in histories]
    return prompts, hidden, shown


def _shown_items(
    checkpoint: Checkpoint, histories: Mapping[str, Sequence[str]], max_history: int | None
) -> list[list[str]]:
    """The items that each prompt shows; prints how many are left out."""
    most = checkpoint.history_length(max_history, "--max-history", DEFAULT_HISTORY)
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
