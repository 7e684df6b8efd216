"""What an evaluation is about, resolved and checked before a model is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import tables
from gti_cli.checkpoints.loading import Checkpoint, check_same_ids, find_checkpoint, load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.checkpoints.positions import check_positions
from gti_cli.checkpoints.precision import choose_device, choose_dtype, describe, seed_everything
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.parts import Searcher, SearchRequest, SearchResult, beams_for, search_parts
from gti_cli.decoding.trie import Trie, build_trie
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.options import RunOptions
from gti_cli.prompts.next_item import DEFAULT_HISTORY
from gti_cli.tables import SemanticIDs
from gti_cli.workspace import StageRun, Workspace, check_output_name, processes
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Plan:
    """A checkpoint over a catalogue, and how it is evaluated.

    Attributes:
        space: the workspace. ids: manifest of its semantic IDs. checkpoint: what is evaluated. catalogue: all items.
        options: with ``history`` and ``beams`` resolved. seed: of everything random.
        device, dtype: on which and in which the model runs.
    """

    space: Workspace
    ids: Manifest
    checkpoint: Checkpoint
    catalogue: SemanticIDs
    options: EvaluateOptions
    seed: int
    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """The checkpoint's own name."""
        return Path(self.checkpoint.path).name

    def upstream(self) -> dict[str, Manifest]:
        """For `Workspace.stage(upstream=…)`."""
        return {"semantic_ids": self.ids, **self.checkpoint.upstream()}

    def inputs(self) -> dict[str, Any]:
        """For `Workspace.stage(inputs=…)`, beside the table that is evaluated on."""
        return {"semantic_ids": self.space.path("semantic_ids.parquet"), **self.checkpoint.inputs()}

    def recorded(self) -> dict[str, Any]:
        """For `Workspace.stage(options=…)`: what every evaluation has."""
        drawn = {} if self.options.sample is None else {"sample": self.options.sample, "sample_seed": self.seed}
        return {
            **drawn,
            "split": self.options.split,
            "k": self.options.ks,
            "search": self.options.search,
            "beams": self.options.beams,
            "dtype": str(self.dtype).removeprefix("torch."),
            "checkpoint": self.checkpoint.path if not self.checkpoint.local else None,
        }

    def load(self, trie: Trie) -> tuple[PreTrainedTokenizerBase, Searcher]:
        """The checkpoint's tokenizer, and its model over ``trie``."""
        tokenizer = load_tokenizer(self.checkpoint.path)
        new_tokens = self.checkpoint.item_tokens()
        check_tokenizer(tokenizer, new_tokens)
        model = load_model(self.checkpoint.path, self.device, self.dtype)
        tensors = TrieTensors(trie, code_ids(new_tokens, self.ids.details["sizes"]), self.device)
        return tokenizer, Searcher(model, tensors, int(tokenizer.pad_token_id))

    def parts_folder(self, scratch: Path) -> Path:
        """Where finished parts of the search are kept: apart for whatever changes the last digits of a score."""
        return scratch / f"parts-{self.options.batch_size}-{self.device.type}"

    def search(
        self, searcher: Searcher, asked: SearchRequest, run: StageRun, description: str, unit: str
    ) -> SearchResult:
        """Answer every prompt of ``asked``; speed (``unit`` a second) and what an exact search counts go to ``run``."""
        longest = max(map(len, asked.prompts)) + self.catalogue.codes.shape[1] - 1  # the last code is not read
        remedy = "use a smaller --history" if unit == "users" else "use a model with more positions"
        check_positions(searcher.model.config, longest, self.checkpoint.path, remedy=remedy)
        started = time.monotonic()
        answered = search_parts(
            searcher,
            asked,
            batch_size=self.options.batch_size,
            folder=self.parts_folder(run.scratch),
            description=description,
            unit=unit,
        )
        run.measured[f"{unit}_per_second"] = round(answered.searched / (time.monotonic() - started), 2)
        if asked.exact:
            run.counts.update(answered.exact_counts())
        return answered


def find_fitting(space: Workspace, checkpoint: str | None) -> tuple[Manifest, Checkpoint]:
    """The manifest of the semantic IDs, and a checkpoint that has their tokens.

    Raises:
        InputError: one is missing, or they do not belong together.
    """
    ids = space.require("semantic_ids", "gti build-ids")
    found = find_checkpoint(space, checkpoint, "finetuned", "gti finetune")
    check_same_ids(found, ids)
    code_ids(found.item_tokens(), ids.details["sizes"])
    return ids, found


def make_plan(
    space: Workspace, checkpoint: str | None, options: EvaluateOptions, *, seed: int, device: str, dtype: str
) -> Plan:
    """Resolve the options and check that checkpoint and semantic IDs belong together.

    Raises:
        InputError: they do not, or an option cannot be meant.
    """
    options.check()
    ids, found = find_fitting(space, checkpoint)
    place = choose_device(device)
    options = replace(
        options,
        history=found.history_length(options.history, "--history", DEFAULT_HISTORY),
        beams=beams_for(options.beams, max(options.k)),
        k=tuple(options.ks),
    )
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    return Plan(space, ids, found, catalogue, options, seed, place, choose_dtype(dtype, place))


def run_stage(
    plan: Plan,
    artifact: str,
    how: RunOptions,
    search: Callable[[Trie, StageRun], SearchResult],
    report: Callable[[Trie, SearchResult, StageRun], None],
    *,
    options: Mapping[str, Any],
    inputs: Mapping[str, Path | str],
    details: Mapping[str, Any],
    counts: Mapping[str, int],
) -> Manifest:
    """What every evaluation does: ``search`` on all processes, ``report`` on the first.

    Args:
        artifact: from `output_name`. options, inputs: of this evaluation, beside what all have. details, counts: for
            the manifest, known beforehand.
    """
    with plan.space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={**plan.recorded(), **options},
        inputs={**inputs, **plan.inputs()},
        upstream=plan.upstream(),
        seed=how.seed,
        force=how.force,
        resume=how.resume,
    ) as run:
        if not run.done:
            seed_everything(how.seed)
            run.device = describe(plan.device)
            run.details.update(details)
            run.counts.update(counts)
            trie = build_trie(plan.catalogue.codes)
            answered = search(trie, run)
            if processes.rank() == 0:
                report(trie, answered, run)
    return run.result()


def output_name(plan: Plan, name: str | None, suffix: str = "") -> str:
    """The artifact's name below ``evaluation/``: as given, or the checkpoint's with ``suffix``."""
    own = plan.name + suffix
    check_output_name(name or own, default=own or "finetuned")
    return f"evaluation/{name or own}"
