"""A checkpoint as a member of a blend: its lists come from a beam search, its scores are exact log-probabilities.

The search gives a list alone. Every candidate of the blend, whoever listed it, then gets the number that the model
gives it (`gti_cli.decoding.candidate_scores`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli.blends.candidate_table import Candidates
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.limits import check_positions
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.candidate_scores import CandidateLists
from gti_cli.decoding.constraints.allowed_nodes import AllowedItems
from gti_cli.decoding.ranked_items import first_items, item_groups
from gti_cli.decoding.search_parts import (
    ScoreRequest,
    Searcher,
    SearchRequest,
    beams_for,
    extra_beams,
    score_parts,
    search_parts,
)
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.priors.stored_prior import LoadedPrior, load_prior
from gti_cli.prompts.next_item import DEFAULT_HISTORY, encode_items, make_frame
from gti_cli.tables import SemanticIDs
from gti_cli.workspace.manifest import canonical_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ModelSetting:
    """The catalogue and the machine that a language model runs with.

    Attributes:
        catalogue: All items with their semantic IDs.
        sizes: Number of codes of each level.
        device: Where the model runs.
        dtype: Number format of its weights.
        batch_size: Prompts in a batch. It changes speed, not results.
        embeddings: ``embeddings.safetensors`` of the catalogue, which a prior may read. None: there is none.
    """

    catalogue: SemanticIDs
    sizes: Sequence[int]
    device: torch.device
    dtype: torch.dtype
    batch_size: int = 32
    embeddings: Path | None = None


class LanguageModel:
    """A checkpoint as a member. The model is loaded when it is first asked."""

    def __init__(self, name: str, checkpoint: Checkpoint, setting: ModelSetting) -> None:
        """Take a checkpoint that has the codes of the catalogue.

        Args:
            name: Name of the member.
            checkpoint: The checkpoint.
            setting: Catalogue, device and number format.
        """
        self.name = name
        self._checkpoint, self._setting = checkpoint, setting

    def lists(
        self,
        histories: Sequence[Sequence[int]],
        k: int,
        *,
        filter_seen: bool,
        allowed: Mask | None = None,
        folder: Path | None = None,
    ) -> Ints:
        """(U, k) catalogue rows of the best items of a search with k beams, with -1 after the last."""
        (searcher, prior), trie = self._whole, self._trie
        items = AllowedItems.same_for_all(allowed, len(histories)) if allowed is not None else None
        shown = self._shown(histories)
        hidden = [set(history) if filter_seen else set() for history in histories]
        request = SearchRequest(
            self._prompts(shown),
            [extra_beams(len(seen)) for seen in hidden],
            list_length=k,
            beams=beams_for(None, k),
            exact=False,
            masses=prior.masses(shown) if prior is not None else None,
            allowed=items,
        )
        ranking = search_parts(
            searcher,
            request,
            batch_size=self._setting.batch_size,
            folder=self._folder(folder, "lists"),
            description=f"Lists of {self.name}",
            unit="users",
        ).ranking
        lists = np.full((len(histories), k), -1, dtype=np.int64)
        for user, seen in enumerate(hidden):
            choice = items.of(user) if items is not None else None
            best = first_items(item_groups(ranking, trie, user, seen, choice), k).rows
            lists[user, : len(best)] = best
        return lists

    def scores(
        self, histories: Sequence[Sequence[int]], candidates: Candidates, *, folder: Path | None = None
    ) -> Floats:
        """(n,) exact log-probabilities of the candidates."""
        searcher, prior = self._whole
        shown = self._shown(histories)
        scores = score_parts(
            searcher,
            ScoreRequest(
                self._prompts(shown),
                CandidateLists(candidates.offsets, candidates.rows),
                prior.masses(shown) if prior is not None else None,
            ),
            batch_size=self._setting.batch_size,
            folder=self._folder(folder, "scores"),
            description=f"Scores of {self.name}",
            unit="users",
        )
        return scores.astype(np.float64)

    def _folder(self, folder: Path | None, kind: str) -> Path | None:
        """Folder of finished parts.

        Batch size and device are in its name, as they affect rounding; and the catalogue, as the leaves of lists are
        numbered anew when `gti build-ids --reuse` adds items.
        """
        if folder is None:
            return None
        setting = self._setting
        catalogue = canonical_digest(setting.catalogue.digests)[:16]
        return folder / f"{self.name}-{kind}-{setting.batch_size}-{setting.device.type}-{catalogue}"

    def _shown(self, histories: Sequence[Sequence[int]]) -> list[list[int]]:
        """The last items of each history, as many as in fine-tuning."""
        most = self._checkpoint.history_length(None, "--history", DEFAULT_HISTORY)
        return [list(history[-most:]) for history in histories]

    def _prompts(self, shown: Sequence[Sequence[int]]) -> list[list[int]]:
        """Token ids of each prompt, after a check that the model has positions for the longest."""
        frame = make_frame(self._tokenizer, self._setting.catalogue.tokens[0])
        prompts = [frame.search_prompt([self._item_tokens[row] for row in rows]) for rows in shown]
        longest = max(map(len, prompts), default=0) + self._trie.levels - 1  # the last code is never read
        check_positions(
            self._model.config, longest, self._checkpoint.path, remedy="fine-tune it with a shorter --history"
        )
        return prompts

    @cached_property
    def _whole(self) -> tuple[Searcher, LoadedPrior | None]:
        """The model with the trie of all items and its behaviour prior, made once for all calls."""
        setting, trie = self._setting, self._trie
        ids = code_ids(self._checkpoint.item_tokens(), setting.sizes)
        row_of, embeddings = setting.catalogue.row_of(), setting.embeddings
        prior = load_prior(self._checkpoint, row_of, trie, ids, setting.device, embeddings=embeddings)
        of_model = prior.model if prior is not None else None
        pad_id = int(self._tokenizer.pad_token_id)
        return Searcher(self._model, TrieTensors(trie, ids, setting.device), pad_id, of_model), prior

    @cached_property
    def _trie(self) -> Trie:
        return build_trie(self._setting.catalogue.codes)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer = self._checkpoint.load_tokenizer()
        check_tokenizer(tokenizer, self._checkpoint.item_tokens())
        return tokenizer

    @cached_property
    def _item_tokens(self) -> list[list[int]]:
        """Token ids of each item of the catalogue."""
        tokens: list[list[int]] = encode_items(
            self._tokenizer, self._setting.catalogue.tokens, self._checkpoint.item_tokens()
        ).tolist()
        return tokens

    @cached_property
    def _model(self) -> PreTrainedModel:
        return self._checkpoint.load_model(self._setting.device, self._setting.dtype)
