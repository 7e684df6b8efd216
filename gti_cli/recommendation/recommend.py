"""`gti recommend`: the next items for a history, or for every user of a table. Writes nothing into the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gti_cli import console, tables
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.search import Recommended, cut, search_all, to_items
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError, examples
from gti_cli.histories.splits import read_interactions
from gti_cli.prompts.next_item import cap, encode_items, frame
from gti_cli.tables import SemanticIDs
from gti_cli.training.checkpoints import Checkpoint, check_same_ids, find_checkpoint, load_model, load_tokenizer
from gti_cli.training.precision import choose_device, choose_dtype, seed_everything
from gti_cli.vocabulary.tokens import check_tokenizer, code_ids
from gti_cli.workspace import Workspace

DEFAULT_HISTORY = 20


@dataclass(frozen=True)
class Recommendation:
    """One line of the answer: ``rank`` from 1, ``score`` the log-probability of the item's semantic ID."""

    user_id: str
    rank: int
    item_id: str
    title: str
    score: float


def recommend(
    workspace: Path | str = Path("gti-workspace"),
    *,
    checkpoint: str | None = None,
    histories: Mapping[str, Sequence[str]] | None = None,
    table: Path | str | None = None,
    k: int = 10,
    beams: int | None = None,
    exclude: Path | str | None = None,
    only: Path | str | None = None,
    filter_seen: bool = False,
    history: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
) -> list[Recommendation]:
    """Recommend the ``k`` most probable next items to each user.

    Args:
        checkpoint: default ``finetuned``. histories: user -> item ids, oldest first; or table: of interactions.
        beams: at least k (None: as many as are needed). filter_seen: leave out items of the user's own history.
        exclude, only: tables with `item_id`; such items are left out of, or alone make up, the trie that is searched,
            so that no place of a list is lost to them.
        history: most items shown (None: as in fine-tuning). batch_size: changes speed, not results.

    Returns:
        Lines by user, then rank. A user with fewer than ``k`` items left to recommend gets fewer.

    Raises:
        InputError: unknown or no items, nothing left to recommend, too few beams, a checkpoint that does not fit.
    """
    if k < 1 or batch_size < 1:
        raise InputError("-k and --batch-size must be positive", remedy="use 1 or more")
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    found = find_checkpoint(space, checkpoint, "finetuned", "gti finetune")
    check_same_ids(found, ids)
    codes = code_ids(found.new_tokens(), ids.details["sizes"])
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    row_of = catalogue.row_of()
    wanted = _histories(histories, table, row_of)
    rows = _allowed(row_of, exclude, only)
    seen = [{row_of[item] for item in items} if filter_seen else set() for items in wanted.values()]
    needed = k + max(len(hidden) for hidden in seen)
    if beams is not None and beams < needed:
        raise InputError(
            f"--beams {beams} is fewer than the {needed} that {k} items need", remedy=f"use {needed} or more"
        )
    shown = _shown(found, wanted, history)
    seed_everything(seed)
    lists = _search(found, catalogue, codes, rows, shown, seen, beams or needed, k, batch_size, device, dtype)
    short = sum(len(best.rows) < k for best in lists)
    if short:
        console.warn(f"{short:,} of {len(lists):,} users have fewer than {k} items left to be recommended")
    return _lines(list(wanted), lists, catalogue, _titles(space))


def _histories(
    given: Mapping[str, Sequence[str]] | None, table: Path | str | None, row_of: Mapping[str, int]
) -> dict[str, list[str]]:
    if (given is None) == (table is None):
        raise InputError("give either a history or a table of interactions", remedy="pass --history or --input")
    if table is not None:
        return read_interactions(table, row_of).items
    histories = {user: list(items) for user, items in (given or {}).items()}
    unknown = [item for items in histories.values() for item in items if item not in row_of]
    if unknown:
        raise InputError(
            f"items without a semantic ID: {examples(unknown)}", remedy="give item ids of the catalogue ('item_id')"
        )
    if not histories or not all(histories.values()):
        raise InputError("the history is empty", remedy="give at least one item id")
    return histories


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


def _shown(checkpoint: Checkpoint, histories: Mapping[str, Sequence[str]], given: int | None) -> list[list[str]]:
    """The items that each prompt shows; says what is cut."""
    trained = checkpoint.manifest.options.get("history") if checkpoint.manifest else None
    if given is not None and given < 1:
        raise InputError(f"--max-history {given} shows nothing", remedy="use 1 or more")
    if given is not None and trained is not None and given != trained:
        console.warn(f"--max-history {given}, but the checkpoint was fine-tuned with {trained}")
    most = int(given or trained or DEFAULT_HISTORY)
    pairs = [cap(items, most) for items in histories.values()]
    cut_off = sum(count for _, count in pairs)
    if cut_off:
        console.note(f"{cut_off:,} items lie further back than the {most} that a prompt shows")
    return [items for items, _ in pairs]


def _search(
    checkpoint: Checkpoint,
    catalogue: SemanticIDs,
    codes: list[np.ndarray],
    rows: np.ndarray,
    shown: list[list[str]],
    seen: list[set[int]],
    beams: int,
    k: int,
    batch_size: int,
    device: str,
    dtype: str,
) -> list[Recommended]:
    """Top ``k`` catalogue rows for each user, from the items ``rows`` alone."""
    chosen = choose_device(device)
    tokenizer = load_tokenizer(checkpoint.path)
    check_tokenizer(tokenizer, checkpoint.new_tokens())
    model = load_model(checkpoint.path, chosen, choose_dtype(dtype, chosen))
    trie = build_trie(catalogue.codes[rows])
    row_of, around = catalogue.row_of(), frame(tokenizer, catalogue.tokens[0])
    tokens = encode_items(tokenizer, catalogue.tokens, checkpoint.new_tokens()).tolist()
    ranking = search_all(
        model,
        [around.search_prompt([tokens[row_of[item]] for item in items]) for items in shown],
        TrieTensors(trie, codes, chosen),
        beams,
        pad_id=int(tokenizer.pad_token_id),
        batch_size=batch_size,
        description="Recommending",
    )
    place = {int(row): number for number, row in enumerate(rows)}  # row of the catalogue -> row of the trie
    lists = []
    for user, hidden in enumerate(seen):
        best = cut(to_items(ranking, trie, user, [place[row] for row in hidden if row in place]), k)
        lists.append(Recommended(rows[best.rows].tolist(), best.scores))
    return lists


def _titles(space: Workspace) -> dict[str, str]:
    """Title of each item by its id (its whole text where the catalogue has no titles)."""
    path = space.path("items.parquet")
    table = tables.read(path, ["item_id"])
    column = "title" if "title" in table.column_names else "text"
    return dict(zip(tables.ids(table, "item_id", path), tables.strings(table, column, path), strict=True))


def _lines(
    users: list[str], lists: list[Recommended], catalogue: SemanticIDs, titles: Mapping[str, str]
) -> list[Recommendation]:
    return [
        Recommendation(user, rank, catalogue.item_ids[row], titles.get(catalogue.item_ids[row], ""), score)
        for user, found in zip(users, lists, strict=True)
        for rank, (row, score) in enumerate(zip(found.rows, found.scores, strict=True), start=1)
    ]
