"""Searches divided into parts, which `gti_cli.decoding.shared_parts` shares out among processes, stores and resumes.

A stage (`gti evaluate`, `gti recommend`) makes a `SearchRequest` from its prompts and passes it to `search_parts`.
Each part goes through `gti_cli.decoding.beam_batches` and, where the request is exact, `gti_cli.decoding.exact`. The
stage then turns the `SearchResult` into lists of items. `score_parts` with a `ScoreRequest` scores given items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import Ranking, TrieTensors
from gti_cli.decoding.beam_batches import search_all
from gti_cli.decoding.candidate_scores import CandidateLists, by_work, score_items
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.hypothesis_caches import SharedPrefix, StoredPrefix
from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts
from gti_cli.decoding.prompt_prior import ItemMasses, ModelPrior, PromptPrior
from gti_cli.decoding.shared_parts import PartArrays, share_parts
from gti_cli.tables.arrays.row_lists import lengths_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ints = npt.NDArray[np.int64]

PROMPTS_PER_PART = 64  # Rounded down to whole batches; one batch where batches are larger.
MIN_BEAMS = 20  # Default. A beam as narrow as a short list often drops the best item at the first level.
EXACT_COUNTS = ("users_whose_beam_missed", "semantic_ids_the_beam_missed", "prefixes_followed")


@dataclass(frozen=True)
class SearchRequest:
    """Prompts, and how the semantic IDs for them are searched.

    Attributes:
        prompts: P token-id lists, none empty.
        extra: (P,) semantic IDs to find beyond ``list_length`` for each prompt, and hypotheses beyond ``beams``: room
            for seen items that must not be listed. See `extra_beams`.
        list_length: Semantic IDs that fill a list.
        beams: Hypotheses kept for each prompt, besides ``extra``.
        exact: After the beam search, find the true best semantic IDs.
        most_prefixes: Most prefixes that an exact search follows for a prompt; prompts that need more keep the beam's
            list. None: no limit.
        masses: Masses of items behind the prompts, where the model has a behaviour prior.
        allowed: The items that the searches may find. None: all.
    """

    prompts: Sequence[Sequence[int]]
    extra: Sequence[int]
    list_length: int
    beams: int
    exact: bool
    most_prefixes: int | None = None
    masses: ItemMasses | None = None
    allowed: AllowedItems | None = None

    def parts(self, batch_size: int) -> list[list[int]]:
        """Divide the prompts' numbers into parts; all prompts of a part have one beam width and similar lengths."""
        size = max(PROMPTS_PER_PART // batch_size, 1) * batch_size
        extra = np.asarray(self.extra, dtype=np.int64)
        order = np.lexsort((lengths_of(self.prompts), extra))
        groups = np.split(order, np.flatnonzero(np.diff(extra[order])) + 1)
        return [group[start : start + size].tolist() for group in groups for start in range(0, len(group), size)]


@dataclass(frozen=True)
class SearchResult:
    """The semantic IDs found for all prompts of a request.

    Attributes:
        ranking: In the order of the prompts, as wide as the widest beam.
        missed: (P,) int64. Of an exact search, the semantic IDs that the beam missed; else 0.
        followed: (P,) int64. Of an exact search, the prefixes that the model was run over; else 0.
        searched: Number of prompts that this process searched itself, in this run.
    """

    ranking: Ranking
    missed: Ints
    followed: Ints
    searched: int

    def unproven(self, request: SearchRequest) -> npt.NDArray[np.bool_]:
        """For which prompts a better semantic ID than one of the list may have been missed, (P,) bool."""
        last = request.list_length + np.asarray(request.extra, dtype=np.int64) - 1
        return self.ranking.scores[np.arange(len(last)), last] < self.ranking.dropped

    def exact_counts(self) -> dict[str, int]:
        """`EXACT_COUNTS` for the manifest."""
        counts = (int((self.missed > 0).sum()), int(self.missed.sum()), int(self.followed.sum()))
        return dict(zip(EXACT_COUNTS, counts, strict=True))


def beams_for(given: int | None, items: int) -> int:
    """Number of hypotheses for a list of ``items``: as given, or else one per item and at least `MIN_BEAMS`."""
    return given or max(items, MIN_BEAMS)


def extra_beams(seen: int) -> int:
    """Number of semantic IDs to find beyond the list for a user who has seen items that must not be listed.

    It depends on this user alone, so nobody's beam depends on who else is in the batch. It is rounded, so that users
    can share a batch.

    Args:
        seen: Number of items that must not be listed.

    Returns:
        ``seen`` rounded up to 8, 16, 32, …; 0 for 0.
    """
    return 0 if seen == 0 else max(8, 1 << (seen - 1).bit_length())


@dataclass(frozen=True)
class Searcher:
    """A model and the catalogue that it searches.

    Attributes:
        model: A causal LM in evaluation mode.
        trie: The catalogue's trie, on the model's device.
        pad_id: Token id that fills shorter prompts.
        prior: The behaviour prior that the model was trained with.
        stored: Prefixes that many prompts begin with, computed before.
        kept: Prompts behind these prefixes that were read before. None: every prompt is read.
    """

    model: PreTrainedModel
    trie: TrieTensors
    pad_id: int
    prior: ModelPrior | None = None
    stored: Sequence[StoredPrefix] = ()
    kept: KeptPrompts | None = None

    def prefix_of(self, prompts: Sequence[Sequence[int]], twice: bool = False) -> SharedPrefix:
        """What some prompts begin with: a stored prefix where it fits, else it is computed. See `SharedPrefix`."""
        runner = make_runner(self.model)
        return SharedPrefix(runner, prompts, self.trie.levels, self.stored, kept=self.kept, twice=twice)

    def prior_behind(self, masses: ItemMasses | None, part: Sequence[int]) -> PromptPrior | None:
        """The prior behind the prompts of a part; None where the model or the prompts have none."""
        return self.prior.behind(masses[list(part)]) if self.prior is not None and masses is not None else None

    def search_part(self, request: SearchRequest, part: Sequence[int], batch_size: int) -> PartArrays:
        """Search for P prompts of a part: ``leaves``, ``scores`` (P, k); ``dropped``, ``missed``, ``followed`` (P,)."""
        # Each batch goes through both searches in turn: what the beam search read of its prompts serves the exact one.
        prefix = self.prefix_of([request.prompts[number] for number in part], twice=request.exact)
        batches = [part[start : start + batch_size] for start in range(0, len(part), batch_size)]
        found = [self._search_batch(request, batch, prefix) for batch in batches]
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}

    def _search_batch(self, request: SearchRequest, batch: Sequence[int], prefix: SharedPrefix) -> PartArrays:
        """`search_part` for a batch of the part that ``prefix`` was made for."""
        prompts, extra = [request.prompts[number] for number in batch], request.extra[batch[0]]
        allowed, device = request.allowed, self.model.device
        given: dict[str, Any] = {
            "pad_id": self.pad_id,
            "batch_size": len(batch),
            "prior": self.prior_behind(request.masses, batch),
            "allowed": allowed.nodes(batch, self.trie.trie, device) if allowed is not None else None,
            "prefix": prefix,
        }
        beam = search_all(self.model, prompts, self.trie, request.beams + extra, description="Searching", **given)
        if not request.exact:
            zeros = np.zeros(len(batch), dtype=np.int64)
            return {**vars(beam), "missed": zeros, "followed": zeros}
        k, limit = request.list_length + extra, request.most_prefixes
        exact = exact_search(self.model, prompts, self.trie, beam, k, limit=limit, **given)
        return {**vars(exact.ranking), "missed": exact.missed, "followed": exact.followed}


def search_parts(
    searcher: Searcher,
    request: SearchRequest,
    *,
    batch_size: int,
    folder: Path | None = None,
    description: str,
    unit: str,
) -> SearchResult:
    """Search for all prompts of a request.

    Args:
        searcher: The model and the catalogue.
        request: The prompts, and how to search for them.
        batch_size: Prompts in a batch. It changes speed, not results.
        folder: Where finished parts are stored. Parts that are there already are not searched again, and the processes
            of this launch divide the parts among themselves. None: this process searches all, in memory.
        description: Text before the progress bar.
        unit: What the progress bar counts, such as ``users``.

    Returns:
        On the first process the complete result. On other ranks the result is incomplete; do not use it.

    Raises:
        InputError: When another process has not finished its part `shared_parts.PATIENCE` seconds after it was needed.
    """
    parts = request.parts(batch_size)
    work = partial(searcher.search_part, request, batch_size=batch_size)
    lengths, names = [len(part) for part in parts], ("leaves", "scores", "dropped", "missed", "followed")
    results, searched = share_parts(
        parts, work, names=names, lengths=lengths, folder=folder, description=description, unit=unit
    )
    return _join(parts, results, len(request.prompts), searched)


@dataclass(frozen=True)
class ScoreRequest:
    """Prompts, and the items to score for each of them.

    Attributes:
        prompts: P token-id lists, none empty.
        candidates: The items of each prompt.
        masses: Masses of items behind the prompts, where the model has a behaviour prior.
    """

    prompts: Sequence[Sequence[int]]
    candidates: CandidateLists
    masses: ItemMasses | None = None

    def parts(self, batch_size: int) -> list[list[int]]:
        """Divide the numbers of the prompts that have candidates into parts of similar work."""
        size = max(PROMPTS_PER_PART // batch_size, 1) * batch_size
        order = by_work(lengths_of(self.prompts), self.candidates.counts)
        return [order[start : start + size] for start in range(0, len(order), size)]


def score_parts(
    searcher: Searcher,
    request: ScoreRequest,
    *,
    batch_size: int,
    folder: Path | None = None,
    description: str,
    unit: str,
) -> npt.NDArray[np.float32]:
    """Score the candidates of all prompts of a request, part by part.

    Args:
        searcher: The model and the catalogue.
        request: The prompts and their candidates.
        batch_size: Most prompts in a batch. It changes speed, not results.
        folder: Where finished parts are stored and shared, as for `search_parts`.
        description: Text before the progress bar.
        unit: What the progress bar counts, such as ``users``.

    Returns:
        (C,) float32, as `gti_cli.decoding.candidate_scores.score_items`; incomplete on other ranks than the first.

    Raises:
        InputError: When another process does not finish its part in time.
    """

    def work(part: Sequence[int]) -> dict[str, np.ndarray]:
        """The scores of the candidates of one part."""
        prompts, candidates = [request.prompts[number] for number in part], request.candidates.select(part)
        scores = score_items(
            searcher.model,
            prompts,
            searcher.trie,
            candidates,
            pad_id=searcher.pad_id,
            batch_size=batch_size,
            prior=searcher.prior_behind(request.masses, part),
            prefix=searcher.prefix_of(prompts),
        )
        return {"scores": scores}

    parts = request.parts(batch_size)
    lengths = [int(request.candidates.counts[part].sum()) for part in parts]
    results, _ = share_parts(
        parts, work, names=("scores",), lengths=lengths, folder=folder, description=description, unit=unit
    )
    scores = np.full(len(request.candidates.rows), -np.inf, dtype=np.float32)
    for number, arrays in results.items():
        scores[request.candidates.places(parts[number])] = arrays["scores"]
    return scores


def _join(parts: Sequence[Sequence[int]], results: dict[int, PartArrays], count: int, searched: int) -> SearchResult:
    """Put the rows of all parts back in the order of the prompts; narrower lists are filled up."""
    width = max((arrays["leaves"].shape[1] for arrays in results.values()), default=0)
    leaves, scores = np.full((count, width), -1, dtype=np.int64), np.full((count, width), -np.inf, dtype=np.float32)
    missed, followed = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    dropped = np.full(count, -np.inf, dtype=np.float32)
    for number, arrays in results.items():
        rows, columns = np.asarray(parts[number]), arrays["leaves"].shape[1]
        leaves[rows, :columns], scores[rows, :columns] = arrays["leaves"], arrays["scores"]
        missed[rows], followed[rows], dropped[rows] = arrays["missed"], arrays["followed"], arrays["dropped"]
    return SearchResult(Ranking(leaves, scores, dropped), missed, followed, searched)
