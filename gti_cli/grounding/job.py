"""The two structures of a grounding run: its checked inputs (job), and what its objective contributes (task).

`ground.ground` builds the `GroundingJob`. `nll.task` or `distil.task` builds the `GroundingTask` from it, and `train`
runs that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.grounding.options import BOTH_WAYS, TO_TEXT_ONLY, TO_TOKENS_ONLY, GroundOptions
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, DIRECTIONS, TO_TEXT, TO_TOKENS, Templates

if TYPE_CHECKING:
    import torch

    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.grounding.distil.batches import DistilCollator
    from gti_cli.grounding.distil.contexts import Phrases
    from gti_cli.grounding.distil.objective import DistilModel
    from gti_cli.grounding.new_items import NewItems
    from gti_cli.grounding.nll.batches import Collator
    from gti_cli.grounding.nll.objective import GroundingModel
    from gti_cli.grounding.read_pairs import PairsTable
    from gti_cli.grounding.retrieval import ItemIndex
    from gti_cli.training.sharding import Sharding

_DIRECTIONS: dict[str | None, tuple[str, ...]] = {
    BOTH_WAYS: DIRECTIONS,
    TO_TOKENS_ONLY: (TO_TOKENS,),
    TO_TEXT_ONLY: (TO_TEXT,),
}


@dataclass(frozen=True)
class GroundingJob:
    """A grounding run whose inputs have been checked.

    Attributes:
        checkpoint: The checkpoint to start from.
        new_tokens: Its new tokens.
        table: The pairs to ground with; for distillation, the phrases.
        item_index: The items to find in held-out measurements (None: the new tokens are not semantic IDs).
        options: The options, with the directions chosen.
        seed: Seed of all random draws.
        device: Device that holds the frozen model.
        dtype: Number format in which the frozen model computes.
        templates: The wordings of the prompts.
        new_items: The items whose texts train, and the rows that do (None: the rows of all new tokens).
        codebooks: File of the codebook vectors that the codes stand for (None: there is none).
        sharding: How the frozen model is divided among the processes (None: every process has all of it).
        name: Name of the output.
        report_to: Experiment trackers.
        logs: Folder for the trackers that write files.
    """

    checkpoint: Checkpoint
    new_tokens: NewTokens
    table: PairsTable | Phrases
    item_index: ItemIndex | None
    options: GroundOptions
    seed: int
    device: torch.device
    dtype: torch.dtype
    templates: Templates = DEFAULT_TEMPLATES
    codebooks: Path | None = None
    new_items: NewItems | None = None
    sharding: Sharding | None = None
    name: str = ""
    report_to: Sequence[str] = ()
    logs: Path = Path()

    @property
    def trained_tokens(self) -> NewTokens:
        """The new tokens whose rows train."""
        tokens = self.new_tokens
        if self.new_items is None:
            return tokens
        rows = self.new_items.rows
        names = [tokens.names[row] for row in rows.tolist()]
        return NewTokens(names, tokens.ids[rows], tokens.levels[rows], tokens.codes[rows])

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that train, as `prompts.pair_prompts` names them."""
        return _DIRECTIONS[self.options.directions]


class HeldOutMeasures(Protocol):
    """What `train` measures, apart from the training loss."""

    def curve_figures(self) -> dict[str, float | None]:
        """Measure the rows as they are, for one point of the training curve; figures by name."""
        ...

    def retrieval_figures(self) -> dict[str, float]:
        """Search for the items of held-out texts: slow, so only before and after training; figures by name."""
        ...

    @property
    def examples(self) -> int:
        """Number of held-out examples that `curve_figures` computes."""
        ...


@dataclass(frozen=True)
class GroundingTask:
    """An objective with its training examples.

    Attributes:
        trained: The module whose parameters train. Its forward pass returns a summed loss and the number of its terms.
        collator: Makes the batches of ``trained``.
        measures: What is measured on held-out examples.
        tables: Further files of the checkpoint's folder, file name -> columns.
        constant: Names of figures that training cannot change. They are reported without a value from before training.
    """

    trained: GroundingModel | DistilModel
    collator: Collator | DistilCollator
    measures: HeldOutMeasures
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
