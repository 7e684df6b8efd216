"""A grounding run: its options, and what else it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.grounding.options import BOTH_WAYS, TO_TEXT_ONLY, TO_TOKENS_ONLY, GroundOptions
from gti_cli.prompts.pairs import DEFAULT_TEMPLATES, DIRECTIONS, TO_TEXT, TO_TOKENS, Templates

if TYPE_CHECKING:
    import torch

    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.grounding.distil.contexts import Phrases
    from gti_cli.grounding.pairs import Texts
    from gti_cli.grounding.retrieval import Catalogue
    from gti_cli.training.sharding import Sharding

DIRECTION_NAMES: dict[str | None, tuple[str, ...]] = {
    BOTH_WAYS: DIRECTIONS,
    TO_TOKENS_ONLY: (TO_TOKENS,),
    TO_TEXT_ONLY: (TO_TEXT,),
}


@dataclass(frozen=True)
class Job:
    """A run, checked and ready to start.

    Attributes:
        checkpoint: to start from. new_tokens: its list. texts: what to ground with (`Phrases`: to distil).
        catalogue: the semantic IDs that exist (None: the tokens are no semantic IDs). options, seed: as given.
        device, dtype: of the frozen model. templates: the wordings of the prompts.
        codebooks: file of the vectors that the codes stand for (None: there is none).
        sharding: how the frozen model is divided among the processes (None: every process has all of it).
        name: of the output. report_to: experiment trackers. logs: folder for those that write files.
    """

    checkpoint: Checkpoint
    new_tokens: NewTokens
    texts: Texts | Phrases
    catalogue: Catalogue | None
    options: GroundOptions
    seed: int
    device: torch.device
    dtype: torch.dtype
    templates: Templates = DEFAULT_TEMPLATES
    codebooks: Path | None = None
    sharding: Sharding | None = None
    name: str = ""
    report_to: Sequence[str] = ()
    logs: Path = Path()
