"""The stage `gti extend`: new tokens into a tokenizer and a causal LM, each one id, with rows of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gti_cli import console
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError, examples
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.chat import end_of_turn
from gti_cli.vocabulary import gguf
from gti_cli.vocabulary.in_memory import add_tokens
from gti_cli.vocabulary.layout import find_layout
from gti_cli.vocabulary.meaning import PLACED, Meanings, Placement
from gti_cli.vocabulary.old_language import effect
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions
from gti_cli.vocabulary.source import files_of, find_base, is_gguf
from gti_cli.vocabulary.start import STARTS, Extension, default_start
from gti_cli.vocabulary.streamed import extend_files
from gti_cli.vocabulary.tokenizer import check_saved
from gti_cli.vocabulary.wanted import wanted
from gti_cli.workspace import StageRun, Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from typing_extensions import Unpack


def extend(
    model: str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    tokens: Path | str | None = None,
    name: str = "extended",
    **keywords: Unpack[ExtendKeywords],
) -> Manifest:
    """Add new tokens to ``model`` and write the checkpoint ``name``.

    Args:
        model: hub name, folder or GGUF file of a causal LM.
        workspace: holds the semantic IDs whose codes become tokens.
        tokens: instead, a table with a column `token`: any other vocabulary.
        name: of the output folder in the workspace.
        keywords: see `StartOptions` and `gti_cli.options.RunOptions`. ``device``: where the effect on ordinary text is
            measured. ``dtype``: of the written weights (auto: every tensor as it is stored). ``resume`` has no effect,
            the stage takes seconds.

    Raises:
        InputError: no model, tokens that it has already, no token that ends an answer, no semantic IDs.
    """
    refuse_unknown(keywords, StartOptions, RunOptions)
    start, how = pick(StartOptions, keywords), pick(RunOptions, keywords)
    space = Workspace(workspace)
    check_output_name(name, default="extended")
    if start.init not in (None, *STARTS):
        raise InputError(f"--init {start.init!r} is not known", remedy=f"use one of {', '.join(STARTS)}")
    start.check()
    device = choose_device(how.device)
    dtype = None if how.dtype == "auto" else choose_dtype(how.dtype, device)
    upstream, meanings, identity = wanted(space, tokens)
    init = start.init or default_start(meanings)
    base = find_base(space, model)
    check_output_name(name, default="extended", start=base.artifact)
    with space.stage(
        "extend",
        name,
        [name],
        options={
            "model": model if not base.local else None,
            "init": init,
            "dtype": how.dtype,
            "tokens": tokens is not None,
            **({"distance": start.distance} if init in PLACED else {}),
            **({} if start.measure_effect else {"measure_effect": False}),
        },
        inputs={"tokens": tokens, **({"model": base.path} if base.local else {})},
        upstream=upstream,
        seed=how.seed,
        force=how.force,
        resume=how.resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            seed_everything(how.seed)
            placed = Placement(start.distance, how.seed)
            _extend(run, run.path(name), base, meanings, init, placed, dtype, device if start.measure_effect else None)
            run.details["semantic_ids"] = identity
    return run.result()


def _extend(
    run: StageRun,
    target: Path,
    base: Checkpoint,
    meanings: Meanings,
    init: str,
    how: Placement,
    dtype: torch.dtype | None,
    device: torch.device | None,
) -> None:
    """Write the checkpoint, read it again, and report to ``run`` what was done and what it does to the old language.

    The latter on ``device`` (None: not at all).
    """
    tokenizer = gguf.read_tokenizer(Path(base.path)) if is_gguf(base) else load_tokenizer(base.path)
    end_of_turn(tokenizer)  # every stage that asks the model needs it: refused here, before anything is made
    _refuse_known(tokenizer, meanings.all_names, base.path)
    before = tokenizer.get_vocab()
    done = _write(base, target, tokenizer, meanings, init, how, dtype)
    check_saved(target, before, done.tokens)
    _report(run, done)
    run.details.update(
        new_tokens=len(meanings.all_names),
        new_tokens_sha256=done.tokens.digest,
        base_vocab=done.rows_before,
        model=Path(base.path).name if base.local else base.path,
        initializer=init,
    )
    if is_gguf(base):
        _say_dequantised(run, Path(base.path), done)
    if device is not None:
        run.device = describe(device)
        lm = load_model(str(target), device, done.dtype, where=base.path)
        old_language = effect(lm, tokenizer, torch.from_numpy(done.tokens.ids))
        old_language.say(init)
        run.metrics.update(old_language.metrics())


def _write(
    base: Checkpoint,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    meanings: Meanings,
    init: str,
    how: Placement,
    dtype: torch.dtype | None,
) -> Extension:
    """Write the extended checkpoint: tensor by tensor out of the files where that can be done, else by loading it."""
    generator = torch.Generator().manual_seed(how.seed)
    folder = files_of(base)
    layout = find_layout(folder) if folder is not None else None
    if folder is not None and layout is not None:
        return extend_files(folder, layout, target, tokenizer, meanings, init, generator, dtype, how)
    if is_gguf(base):
        lm = gguf.read_model(Path(base.path), dtype or torch.float32)
    else:
        lm = load_model(base.path, torch.device("cpu"), dtype or "auto")
        console.note("the model was loaded to extend it: its files name its matrices otherwise than it does")
    done = add_tokens(lm, tokenizer, meanings, init, generator, how)
    save_checkpoint(target, lm, tokenizer, done.tokens)
    return done


def _refuse_known(tokenizer: PreTrainedTokenizerBase, names: list[str], path: str) -> None:
    known = tokenizer.get_vocab()
    clash = [name for name in names if name in known]
    if clash:
        raise InputError(
            f"the tokenizer has these tokens already: {examples(clash)}",
            where=path,
            remedy="start from the model before it was extended",
        )


def _say_dequantised(run: StageRun, file: Path, done: Extension) -> None:
    kinds = gguf.tensor_types(file)
    stored = str(done.dtype).removeprefix("torch.")
    run.details.update(dequantised_to=stored, gguf_tensors=kinds)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    console.warn(f"{file.name}: weights were dequantised to {stored}; they have the precision of the file ({listed})")


def _report(run: StageRun, done: Extension) -> None:
    if done.from_reserve:
        console.note(f"{done.from_reserve:,} of the new tokens took rows that the padded vocabulary held in reserve")
    run.counts.update(
        new_tokens=len(done.tokens.names),
        rows_before=done.rows_before,
        rows=done.rows,
        rows_from_reserve=done.from_reserve,
    )
    run.metrics.update(done.metrics())
