"""`gti_cli.Recommender`: a checkpoint or a blend that is loaded once and answers many requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console
from gti_cli.checkpoints.devices import seed_everything
from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.errors import InputError
from gti_cli.options import check_seed
from gti_cli.recommender.blended_lists import LoadedBlend, refuse_model_settings
from gti_cli.recommender.choices import Listed, Only, allowed_items, flag_for_each
from gti_cli.recommender.explain import candidate_scores, level_scores
from gti_cli.recommender.files import RecommenderFiles, read_workspace
from gti_cli.recommender.loaded_model import LoadedModel, Prompts
from gti_cli.recommender.lookup import ItemLookup
from gti_cli.recommender.results import LevelScore, RecommendedList, as_list
from gti_cli.recommender.search import search_lists
from gti_cli.recommender.settings import (
    ListSettings,
    check_cache,
    known_rows,
    one_request,
    strip_queries,
    take_requests,
)
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from gti_cli.decoding.constraints.logits_processor import SemanticIdLogitsProcessor
    from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts


class Recommender(ItemLookup):
    """A checkpoint or a blend in memory. Several threads may use it: their calls are answered one after the other.

    Attributes:
        name: Name of the checkpoint or the blend.
        trained_on: What the checkpoint was fine-tuned to answer.
        is_blend: Whether it is a blend, which gives lists for histories and nothing else of a model.
        files: What it was loaded from.
    """

    def __init__(
        self,
        files: RecommenderFiles,
        *,
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
        batch_size: int = 32,
        cache_bytes: int = 0,
    ) -> None:
        """Load the model, and compute what all requests share.

        Args:
            files: The checkpoint and the catalogue; `load` finds those of a workspace.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            dtype: ``auto``, ``float32`` or ``bfloat16``.
            seed: Seed of everything random.
            batch_size: Prompts in a batch of a blend's language models.
            cache_bytes: Memory for users' prompts that were read before, as for `load`; 0 for a blend.

        Raises:
            InputError: When the files do not fit one another or cannot be loaded.
        """
        check_cache(cache_bytes, files.name, files.blend is not None)
        check_seed(seed)
        seed_everything(seed)
        super().__init__(files.catalogue, files.titles, files.embeddings)
        self.files, self.name, self.trained_on = files, files.name, files.trained_on
        self.is_blend = files.blend is not None
        self._lock = threading.RLock()
        self._blend = LoadedBlend(files.blend, device, dtype, batch_size) if files.blend is not None else None
        self._model = None
        if files.checkpoint is not None:
            self._model = LoadedModel(files, files.checkpoint, device, dtype, cache_bytes)

    @classmethod
    def load(
        cls,
        workspace: Path | str = Path("gti-workspace"),
        checkpoint: str | None = None,
        *,
        base: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        seed: int = 0,
        cache_bytes: int = 0,
    ) -> Recommender:
        """Load a checkpoint or a blend of a workspace.

        Args:
            workspace: Folder of the workspace.
            checkpoint: Name or path of a checkpoint, also of an adapter of PEFT, or name of a blend. None:
                ``finetuned``.
            base: Base model of an adapter. None: the one that it names.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            dtype: ``auto``, ``float32`` or ``bfloat16``.
            seed: Seed of everything random.
            cache_bytes: Memory, on the device of the model, for the keys and values of users' prompts, the least
                recently used given up first: a history that comes again, or goes on, is not read from its beginning.
                What was asked before then changes scores by rounding. 0: every request is read in full.

        Raises:
            InputError: When something is missing, or the checkpoint does not fit the semantic IDs.
        """
        files = read_workspace(Workspace(workspace), checkpoint, base)
        return cls(files, device=device, dtype=dtype, seed=seed, cache_bytes=cache_bytes)

    @property
    def model(self) -> LoadedModel:
        """The loaded checkpoint.

        Raises:
            InputError: When this is a blend.
        """
        if self._model is None:
            raise InputError(f"{self.name!r} is a blend, which scores no single item", remedy="name a checkpoint")
        return self._model

    @property
    def prompt_cache(self) -> KeptPrompts | None:
        """The users' prompts that are kept; None without ``cache_bytes``."""
        return self._model.searcher.kept if self._model is not None else None

    def check(
        self,
        histories: Sequence[Sequence[str]] | None = None,
        queries: Sequence[str] | None = None,
        *,
        exclude: Listed = (),
        only: Only = None,
        max_history: int | None = None,
    ) -> None:
        """Check requests as `recommend` does, without running the model: so one bad request cannot spoil a batch.

        Raises:
            InputError: As `recommend`.
        """
        histories, queries, count = take_requests(histories, queries, self.row_of, self.is_blend)
        allowed_items(self.row_of, count, exclude, only)
        if not self.is_blend:
            self._prompts(histories, queries, max_history)

    def recommend(
        self,
        histories: Sequence[Sequence[str]] | None = None,
        queries: Sequence[str] | None = None,
        *,
        k: int = 10,
        search: str = "auto",
        beams: int | None = None,
        exclude: Listed = (),
        only: Only = None,
        filter_seen: bool | Sequence[bool] = False,
        max_history: int | None = None,
        batch_size: int = 32,
    ) -> list[RecommendedList]:
        """Find the best items for each history or query; exactly one of the two is given.

        Lists and scores are those of `gti recommend` for the same requests, to the bit. Which other requests are in a
        batch changes scores by rounding alone.

        Args:
            histories: Item ids of each user, oldest first.
            queries: Words of each query.
            k: Most items of a list.
            search: ``exact``, which provably finds the best items, ``beam``, which may miss some, or ``auto``: exact
                for up to 300 requests, unless ``beams`` is given.
            beams: Hypotheses of the beam search, at least ``k``. None: ``k``, at least 20.
            exclude: Item ids that are never recommended: for all requests, or a collection for each.
            only: The only item ids that are recommended: for all requests, or for each a collection or None.
            filter_seen: Whether to leave out the items of the history: for all requests, or for each.
            max_history: Most items of a history that a prompt shows. None: as in fine-tuning.
            batch_size: Prompts in a batch.

        Returns:
            A list for each request, in their order.

        Raises:
            InputError: When an item is unknown, a request is empty, no item is left, or an option is out of range.
        """
        settings = ListSettings(k, search, beams, batch_size, max_history)
        settings.check()
        histories, queries, count = take_requests(histories, queries, self.row_of, self.is_blend)
        allowed = allowed_items(self.row_of, count, exclude, only)
        seen = flag_for_each(filter_seen, count, "filter_seen")
        rows = self.rows_of(histories or [[]] * count)
        if self._blend is not None:
            refuse_model_settings(self.name, settings)
            with self._alone():
                lists = self._blend.lists(rows, k, filter_seen=seen, allowed=allowed)
            return [as_list(items, self.item_ids, self.titles, True, 0) for items in lists]
        hidden = [set(history) if is_hidden else set() for history, is_hidden in zip(rows, seen, strict=True)]
        prompts = self._prompts(histories, queries, max_history)
        with self._alone():
            found = search_lists(self.model, prompts, settings, hidden=hidden, allowed=allowed)
        answers = zip(found.lists, found.proven, prompts.cut, strict=True)
        return [as_list(items, self.item_ids, self.titles, proven, cut) for items, proven, cut in answers]

    def score(
        self,
        histories: Sequence[Sequence[str]] | None = None,
        queries: Sequence[str] | None = None,
        *,
        candidates: Sequence[Sequence[str]],
        max_history: int | None = None,
        batch_size: int = 32,
    ) -> list[list[float]]:
        """Exact log-probabilities of given items.

        Args:
            histories: Item ids of each user, oldest first.
            queries: Words of each query.
            candidates: For each request, item ids.
            max_history: Most items of a history that a prompt shows. None: as in fine-tuning.
            batch_size: Most prompts in a batch.

        Returns:
            A score for each candidate of each request: the number that `recommend` gives the item, up to rounding.

        Raises:
            InputError: When an item is unknown or a request is empty, or this is a blend.
        """
        ListSettings(batch_size=batch_size, max_history=max_history).check()
        histories, queries, count = take_requests(histories, queries, self.row_of, self.is_blend)
        if len(candidates) != count:
            raise InputError(
                f"candidates has {len(candidates):,} lists for {count:,} requests", remedy="give one for each"
            )
        rows = [known_rows(list(items), self.row_of) for items in candidates]
        model, prompts = self.model, self._prompts(histories, queries, max_history)
        with self._alone():
            return candidate_scores(model, prompts, rows, batch_size)

    def explain(
        self,
        history: Sequence[str] | None = None,
        query: str | None = None,
        *,
        item_id: str,
        max_history: int | None = None,
    ) -> list[LevelScore]:
        """How the score of an item comes about, code by code.

        Args:
            history: Item ids, oldest first.
            query: Words of a query; exactly one of the two is given.
            item_id: The item.
            max_history: Most items of a history that the prompt shows. None: as in fine-tuning.

        Returns:
            The log-probability of each code; their sum is the item's score, up to rounding. Tokens that are the same
            for all items (``<|sid_begin|>``) belong to the prompt, and nothing behind the last code is scored.

        Raises:
            InputError: When an item is unknown, the request is empty, or this is a blend.
        """
        asked = None if query is None else [query]
        histories, queries, _ = take_requests(one_request(history), asked, self.row_of, self.is_blend)
        row = known_rows([item_id], self.row_of)[0]
        model, prompts = self.model, self._prompts(histories, queries, max_history)
        with self._alone():
            scores = level_scores(model, prompts, row)
        tokens, codes = split_tokens(self.tokens(item_id)), self.files.catalogue.codes[row].tolist()
        return [LevelScore(*level) for level in zip(tokens, codes, scores, strict=True)]

    def logits_processor(self, prompt_length: int) -> SemanticIdLogitsProcessor:
        """The constraint to items of the catalogue, for ``generate`` of Hugging Face on the same checkpoint.

        Args:
            prompt_length: Number of tokens, padding included, of the prompts that ``generate`` gets. They end where the
                next token is an item's first code, as those of ``model.prompts_of_histories`` do.

        Raises:
            InputError: When this is a blend.
        """
        from gti_cli.decoding.constraints.logits_processor import SemanticIdLogitsProcessor

        codes, token_ids = self._catalogue.codes, self.model.token_ids
        return SemanticIdLogitsProcessor(codes, token_ids, prompt_length=prompt_length)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time uses the model; a library shows no progress bars."""
        with self._lock, console.without_progress():
            yield

    def _prompts(
        self, histories: Sequence[Sequence[str]] | None, queries: Sequence[str] | None, max_history: int | None
    ) -> Prompts:
        if histories is not None:
            return self.model.prompts_of_histories(self.rows_of(histories), max_history)
        return self.model.prompts_of_queries(strip_queries(queries or ()))
