"""The plan of an evaluation: checkpoint, catalogue and options, resolved and checked before a model is loaded.

`gti_cli.evaluation.evaluate` (users) and `gti_cli.evaluation.evaluate_queries` make a plan, open the stage with
`open_stage`, search with the plan's `search`, and report.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.limits import check_positions
from gti_cli.checkpoints.new_tokens import check_tokenizer, code_ids
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.search_parts import Searcher, SearchRequest, SearchResult, beams_for, search_parts
from gti_cli.decoding.trie import Trie
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.options import RunOptions
from gti_cli.priors.stored_prior import LoadedPrior, load_prior
from gti_cli.prompts.next_item import DEFAULT_HISTORY
from gti_cli.tables import SemanticIDs
from gti_cli.workspace import StageRun, Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvaluationPlan:
    """A checkpoint, the catalogue that it recommends from, and the options of its evaluation.

    Attributes:
        space: The workspace.
        ids: Manifest of the workspace's semantic IDs.
        checkpoint: The checkpoint that is evaluated.
        catalogue: All items with their semantic IDs.
        options: The options, with ``history`` and ``beams`` resolved and the cut-offs sorted.
        seed: Seed of everything random.
        device: Where the model runs.
        dtype: Number format of the model's weights.
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
        """The argument ``upstream`` of `Workspace.stage`."""
        return {"semantic_ids": self.ids, **self.checkpoint.upstream()}

    def inputs(self) -> dict[str, Any]:
        """The argument ``inputs`` of `Workspace.stage`, without the table that is evaluated on."""
        return {"semantic_ids": self.space.path("semantic_ids.parquet"), **self.checkpoint.inputs()}

    def recorded_options(self) -> dict[str, Any]:
        """The options that the manifest of every evaluation records."""
        sample = {} if self.options.sample is None else {"sample": self.options.sample, "sample_seed": self.seed}
        return {
            **sample,
            "split": self.options.split,
            "k": self.options.ks,
            "search": self.options.search,
            "beams": self.options.beams,
            "dtype": str(self.dtype).removeprefix("torch."),
            "checkpoint": next((c.path for c in (self.checkpoint, self.checkpoint.base) if c and not c.local), None),
        }

    def load(self, trie: Trie) -> tuple[PreTrainedTokenizerBase, Searcher, LoadedPrior | None]:
        """Load the checkpoint's tokenizer, its model together with the catalogue's trie, and its behaviour prior."""
        tokenizer = self.checkpoint.load_tokenizer()
        new_tokens = self.checkpoint.item_tokens()
        check_tokenizer(tokenizer, new_tokens)
        model = self.checkpoint.load_model(self.device, self.dtype)
        ids = code_ids(new_tokens, self.ids.details["sizes"])
        prior = load_prior(
            self.checkpoint,
            self.catalogue.row_of(),
            trie,
            ids,
            self.device,
            embeddings=self.space.path(EMBEDDINGS),
        )
        of_model = prior.model if prior is not None else None
        tensors = TrieTensors(trie, ids, self.device)
        return tokenizer, Searcher(model, tensors, int(tokenizer.pad_token_id), of_model), prior

    def parts_folder(self, scratch: Path) -> Path:
        """Folder of finished parts of the search; batch size and device are in its name, as they affect rounding."""
        return scratch / f"parts-{self.options.batch_size}-{self.device.type}"

    def search(
        self, searcher: Searcher, request: SearchRequest, run: StageRun, description: str, unit: str
    ) -> SearchResult:
        """Search for all prompts, and record the speed and the counts of an exact search.

        Args:
            searcher: From `load`.
            request: The prompts, and how to search for them.
            run: The run of the stage; gets ``UNIT_per_second`` and the counts.
            description: Text before the progress bar.
            unit: ``users`` or ``queries``.

        Raises:
            InputError: When a prompt has more tokens than the model has positions.
        """
        # The last code of an answer is scored but never read, so it takes no position.
        longest = max(map(len, request.prompts)) + self.catalogue.codes.shape[1] - 1
        remedy = "use a smaller --history" if unit == "users" else "use a model with more positions"
        check_positions(searcher.model.config, longest, self.checkpoint.path, remedy=remedy)
        started = time.monotonic()
        result = search_parts(
            searcher,
            request,
            batch_size=self.options.batch_size,
            folder=self.parts_folder(run.scratch),
            description=description,
            unit=unit,
        )
        run.measured[f"{unit}_per_second"] = round(result.searched / (time.monotonic() - started), 2)
        if request.exact:
            run.counts.update(result.exact_counts())
        return result


def find_ids_and_checkpoint(
    space: Workspace, checkpoint: str | None, base: str | None = None
) -> tuple[Manifest, Checkpoint]:
    """Find the workspace's semantic IDs and a checkpoint that has their tokens.

    Args:
        space: The workspace.
        checkpoint: Name in the workspace or path (None: ``finetuned``).
        base: Base model, if the checkpoint is an adapter (None: the one that the adapter names).

    Returns:
        The manifest of the semantic IDs, and the checkpoint.

    Raises:
        InputError: When one of them is missing, or they do not belong together.
    """
    ids = space.require("semantic_ids", "gti build-ids")
    resolved = find_checkpoint(space, checkpoint, "finetuned", "gti finetune", adapters=True, base=base)
    check_same_ids(resolved, ids)
    code_ids(resolved.item_tokens(), ids.details["sizes"])
    return ids, resolved


def make_plan(
    space: Workspace,
    checkpoint: str | None,
    options: EvaluateOptions,
    *,
    seed: int,
    device: str,
    dtype: str,
    base: str | None = None,
) -> EvaluationPlan:
    """Check the options and the checkpoint, and resolve the options that depend on others.

    Args:
        space: The workspace.
        checkpoint: Name in the workspace or path (None: ``finetuned``).
        options: As given.
        seed: Seed of everything random.
        device: ``auto``, or a device.
        dtype: ``auto``, or a number format.
        base: Base model, if the checkpoint is an adapter (None: the one that the adapter names).

    Raises:
        InputError: When checkpoint and semantic IDs do not belong together, or an option is out of range.
    """
    options.check()
    ids, resolved = find_ids_and_checkpoint(space, checkpoint, base)
    chosen_device = choose_device(device)
    options = replace(
        options,
        history=resolved.history_length(options.history, "--history", DEFAULT_HISTORY),
        beams=beams_for(options.beams, max(options.k)),
        k=tuple(options.ks),
    )
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    return EvaluationPlan(
        space, ids, resolved, catalogue, options, seed, chosen_device, choose_dtype(dtype, chosen_device)
    )


@contextmanager
def open_stage(
    plan: EvaluationPlan,
    artifact: str,
    run_options: RunOptions,
    *,
    options: Mapping[str, Any],
    inputs: Mapping[str, Path | str],
    details: Mapping[str, Any],
    counts: Mapping[str, int],
) -> Iterator[StageRun]:
    """Open the stage of an evaluation in the workspace, as `Workspace.stage` does.

    Unless the evaluation is done already, this seeds everything random, and records the device, ``details`` and
    ``counts``. The caller searches on all processes, and reports on the first.

    Args:
        plan: Checkpoint, catalogue and options.
        artifact: Name from `output_name`.
        run_options: Seed, and whether to replace or resume.
        options: Recorded options of this evaluation, besides those of every evaluation.
        inputs: Tables of this evaluation, by role.
        details: Details for the manifest.
        counts: Counts for the manifest that are known before the search.

    Yields:
        The run of the stage.
    """
    with plan.space.stage(
        "evaluate",
        artifact,
        [artifact],
        options={**plan.recorded_options(), **options},
        inputs={**inputs, **plan.inputs()},
        upstream=plan.upstream(),
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
    ) as run:
        if not run.done:
            seed_everything(run_options.seed)
            run.device = describe(plan.device)
            run.details.update({**plan.checkpoint.details(), **details})
            run.counts.update(counts)
        yield run


def output_name(plan: EvaluationPlan, name: str | None, suffix: str = "") -> str:
    """Name of the artifact, ``evaluation/NAME``.

    Args:
        plan: Checkpoint, catalogue and options.
        name: As given (None: the checkpoint's name and ``suffix``).
        suffix: ``-search`` for queries.

    Raises:
        InputError: When the name cannot be that of a folder in ``evaluation/``.
    """
    own = plan.name + suffix
    check_output_name(name or own, default=own or "finetuned")
    return f"evaluation/{name or own}"
