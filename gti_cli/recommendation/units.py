"""The tasks as tokens: windows in a layout of several wordings, conversations as examples, and how long they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.limits import check_positions
from gti_cli.errors import InputError
from gti_cli.prompts.chat import end_of_turn
from gti_cli.prompts.conversations import Conversation, encode_conversations
from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import WORDINGS, encode_items, frame
from gti_cli.recommendation.job import Job
from gti_cli.recommendation.material import NEXT_ITEM
from gti_cli.training.batches.mixture import MixedPlan, Mixture, Unit
from gti_cli.training.batches.packing import Layout, Window

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Units:
    """Training and validation units of each task.

    Attributes:
        mixture: makes batches of them. train, valid: by task, in the order of the tasks.
    """

    mixture: Mixture
    train: dict[str, Sequence[Unit]]
    valid: dict[str, Sequence[Unit]]

    @property
    def windows(self) -> list[Window]:
        """The windows of the next-item task; [] without it."""
        return [unit for unit in self.train.get(NEXT_ITEM, []) if isinstance(unit, Window)]

    @windows.setter
    def windows(self, found: Sequence[Window]) -> None:
        """Put other windows in their place."""
        self.train[NEXT_ITEM] = found

    def all(self) -> list[Unit]:
        """The training units of all tasks, one task behind the other, as a `MixedPlan` counts them."""
        return [unit for units in self.train.values() for unit in units]

    def plan(self, weights: Mapping[str, float] | None, **how: Any) -> MixedPlan:
        """The batches of a run; see `MixedPlan`."""
        sizes = {
            name: ([self.mixture.tokens(unit) for unit in units], [self.mixture.targets(unit) for unit in units])
            for name, units in self.train.items()
        }
        return MixedPlan(sizes, weights, **how)


def encode_tasks(job: Job, config: Any) -> Units:
    """Tokenise what the tasks of ``job`` hold.

    Raises:
        InputError: a sequence is longer than the positions of the model with ``config`` reach.
    """
    layout = make_layout(job)
    train: dict[str, Sequence[Unit]] = {task.name: _encode(job.tokenizer, task.train) for task in job.tasks}
    valid: dict[str, Sequence[Unit]] = {task.name: _encode(job.tokenizer, task.valid) for task in job.tasks}
    units = Units(Mixture(layout), train, valid)
    _check_length(config, units, job)
    return units


def make_layout(job: Job) -> Layout:
    """How the job's windows become tokens, in as many wordings as are wanted."""
    tokens = job.material.catalogue.tokens
    items = encode_items(job.tokenizer, tokens, job.new_tokens)
    first, *others = (frame(job.tokenizer, tokens[0], n) for n in range(len(WORDINGS))[: job.options.wordings])
    return Layout(first, items, end_of_turn(job.tokenizer), int(job.tokenizer.pad_token_id), tuple(others))


def rankable(job: Job, units: Units) -> tuple[str, list[list[int]], list[int]]:
    """The first task whose items can be searched for: its name, at most ``rank_sample`` prompts, the rows they want."""
    task = next(task for task in job.tasks if task.wanted)
    every = -(-len(task.wanted) // job.options.rank_sample)
    asked = units.valid[task.name][::every]
    layout = units.mixture.layout
    prompts = [list(unit.prompt) if isinstance(unit, Example) else layout.prompt(unit) for unit in asked]
    # What an item begins with before its codes is given: the search goes over codes.
    return task.name, [[*prompt, *layout.frame.opening] for prompt in prompts], list(task.wanted[::every])


def _encode(tokenizer: PreTrainedTokenizerBase, units: Sequence[Window] | Sequence[Conversation]) -> Sequence[Unit]:
    windows = [unit for unit in units if isinstance(unit, Window)]
    return windows or encode_conversations(tokenizer, [unit for unit in units if isinstance(unit, Conversation)])


def _check_length(config: Any, units: Units, job: Job) -> None:
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is None:
        return
    layout, every = units.mixture.layout, [*units.all(), *(u for found in units.valid.values() for u in found)]
    windows = [unit for unit in every if isinstance(unit, Window)]
    if windows:
        longest = max(len(window.items) - 1 for window in windows)
        before = max(len(layout.before(window)) for window in windows)
        tokens = before + longest * layout.levels + layout.branch
        if tokens > most:
            fits = (most - tokens) // layout.levels + longest
            raise InputError(
                f"a history of {longest} items makes {tokens:,} tokens, more than the {most:,} positions of the model",
                where=job.checkpoint.path,
                remedy=f"use --history {fits} or fewer" if fits > 0 else "use a model with more positions",
            )
    tokens = max((len(unit) for unit in every if isinstance(unit, Example)), default=0)
    check_positions(config, tokens, job.checkpoint.path, remedy="use a smaller --max-text-tokens or --history")
