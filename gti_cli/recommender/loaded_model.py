"""A checkpoint in memory, with all that its searches need: computed once, used for every request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from gti_cli.checkpoints.devices import choose_device, choose_dtype
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.limits import check_positions
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.hypothesis_caches import StoredPrefix, shared_prefix_length
from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts
from gti_cli.decoding.prompt_prior import ItemMasses
from gti_cli.decoding.search_parts import Searcher
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.priors.stored_prior import load_prior
from gti_cli.prompts.next_item import DEFAULT_HISTORY, cut_history, encode_items, make_frame
from gti_cli.prompts.query import encode_queries
from gti_cli.tables.arrays.row_lists import RowLists, lengths_of

if TYPE_CHECKING:
    from gti_cli.recommender.files import RecommenderFiles

_TWO_QUERIES = ("red", "blue")  # what their prompts begin with, all queries' prompts begin with


@dataclass(frozen=True)
class Prompts:
    """The prompts of P requests.

    Attributes:
        ids: Token ids of each prompt; the next token is an item's first code.
        shown: Catalogue rows that each history's prompt shows. None: queries.
        cut: For each history, how many items lie further back than its prompt shows.
        queries_cut: Number of queries that are longer than a prompt shows.
        queries_naming: Number of queries that hold the name of a token (see `gti_cli.prompts.text_as_data`).
    """

    ids: Sequence[Sequence[int]]
    shown: Sequence[Sequence[int]] | None = None
    cut: Sequence[int] = field(default_factory=list)
    queries_cut: int = 0
    queries_naming: int = 0


class LoadedModel:
    """A checkpoint in memory. Several threads may make prompts; one at a time may use the searcher.

    Attributes:
        checkpoint: The checkpoint.
        token_ids: L arrays. Token id of each code of a level.
        searcher: The model, the trie of the whole catalogue, and the stored beginnings of the prompts.
    """

    def __init__(
        self, files: RecommenderFiles, checkpoint: Checkpoint, device: str, dtype: str, cache_bytes: int = 0
    ) -> None:
        """Load the model, and run it over the tokens with which all prompts begin.

        Args:
            files: The catalogue.
            checkpoint: The checkpoint.
            device: ``auto``, or a device.
            dtype: ``auto``, or a number format.
            cache_bytes: Memory for prompts that were read before; 0 keeps none.

        Raises:
            InputError: When the checkpoint cannot be loaded, does not have the codes of the semantic IDs, or cannot go
                on from a prompt that was read before.
        """
        self.checkpoint, self._catalogue = checkpoint, files.catalogue
        new_tokens = checkpoint.item_tokens()
        self.token_ids = token_ids = code_ids(new_tokens, files.sizes)
        self._tokenizer, self._tokenizer_lock = checkpoint.load_tokenizer(), threading.Lock()
        check_tokenizer(self._tokenizer, new_tokens)
        self._frame = make_frame(self._tokenizer, files.catalogue.tokens[0])
        self._item_tokens = encode_items(self._tokenizer, files.catalogue.tokens, new_tokens)
        chosen = choose_device(device)
        model = checkpoint.load_model(chosen, choose_dtype(dtype, chosen))
        trie = build_trie(files.catalogue.codes)
        row_of, embeddings = files.catalogue.row_of(), files.embeddings
        self._prior = load_prior(checkpoint, row_of, trie, token_ids, chosen, embeddings=embeddings)
        stored = self._stored_prefixes(model)
        if cache_bytes and not stored:
            raise InputError(
                "this model cannot go on from a prompt that was read before",
                where=checkpoint.path,
                remedy="leave the prefix cache out (cache_bytes, --prefix-cache)",
            )
        self.searcher = Searcher(
            model,
            TrieTensors(trie, token_ids, chosen),
            int(self._tokenizer.pad_token_id),
            self._prior.model if self._prior is not None else None,
            stored,
            KeptPrompts(cache_bytes) if cache_bytes else None,
        )

    def _stored_prefixes(self, model: object) -> list[StoredPrefix]:
        """What the prompts of histories, and those of queries, begin with; nothing where the model cannot use it."""
        runner = make_runner(model)  # type: ignore[arg-type]
        if not runner.abilities.tree_masks:
            return []
        queries = encode_queries(self._tokenizer, _TWO_QUERIES)[0]
        beginnings = (self._frame.before, queries[0][: shared_prefix_length(queries)])
        return [StoredPrefix(runner, tokens) for tokens in beginnings if tokens]

    @cached_property
    def trained_history(self) -> int:
        """How many items of a history a prompt showed in training."""
        manifest = self.checkpoint.known_manifest
        trained = manifest.options.get("history") if manifest is not None else None
        return int(trained or DEFAULT_HISTORY)

    def prompts_of_histories(self, histories: Sequence[Sequence[int]], max_history: int | None = None) -> Prompts:
        """Ask for the next item of each history.

        Args:
            histories: Catalogue rows, oldest first; none empty.
            max_history: Most items that a prompt shows. None: as in fine-tuning.

        Raises:
            InputError: When a prompt is longer than the model has positions.
        """
        most = max_history or self.trained_history
        if isinstance(histories, RowLists):
            last = histories.last(most)
            prompts = self._frame.search_prompts(last, self._item_tokens)
            self._check_positions(prompts, "use a smaller --max-history")
            return Prompts(prompts, last, (histories.lengths - last.lengths).tolist())
        shown, cut = zip(*(cut_history(history, most) for history in histories), strict=True)
        ids = [self._frame.search_prompt(self._item_tokens[rows].tolist()) for rows in shown]
        self._check_positions(ids, "use a smaller --max-history")
        return Prompts(ids, list(shown), list(cut))

    def prompts_of_queries(self, texts: Sequence[str]) -> Prompts:
        """Ask for the items that fit each query.

        Args:
            texts: Queries, without white space at either end; none empty.

        Raises:
            InputError: When a prompt is longer than the model has positions.
        """
        with self._tokenizer_lock:
            prompts, queries = encode_queries(self._tokenizer, texts)
        ids = [[*prompt, *self._frame.opening] for prompt in prompts]
        self._check_positions(ids, "use a model with more positions")
        return Prompts(ids, None, [0] * len(ids), queries.cut, queries.naming)

    def masses(self, prompts: Prompts) -> ItemMasses | None:
        """What the checkpoint's behaviour prior gives the items behind histories; None without prior or histories."""
        return self._prior.masses(prompts.shown) if self._prior is not None and prompts.shown is not None else None

    def _check_positions(self, ids: Sequence[Sequence[int]], remedy: str) -> None:
        longest = int(lengths_of(ids).max()) + self._catalogue.levels - 1  # the last code is never read
        check_positions(self.searcher.model.config, longest, self.checkpoint.path, remedy=remedy)
