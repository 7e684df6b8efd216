"""The stage `gti extend`: add tokens to a tokenizer and a causal LM, each with one id and rows of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gti_cli import console, tables
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError, list_some
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.prompts.chat import end_of_turn
from gti_cli.vocabulary import gguf
from gti_cli.vocabulary.base_model import find_base, is_gguf, safetensors_folder
from gti_cli.vocabulary.in_memory import add_tokens
from gti_cli.vocabulary.initializers.placement import Placement
from gti_cli.vocabulary.layout import find_layout
from gti_cli.vocabulary.new_rows import INITIALIZERS, USE_DISTANCE, Extension, default_initializer
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions
from gti_cli.vocabulary.streamed import extend_files
from gti_cli.vocabulary.text_effect import measure_text_effect
from gti_cli.vocabulary.tokenizer import check_saved
from gti_cli.vocabulary.tokens_to_add import TokensToAdd, collect_tokens_to_add
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
    """Add new tokens to a model, and write it as a checkpoint into the workspace.

    Args:
        model: Name on the hub, folder or GGUF file of a causal LM, or a checkpoint in the workspace.
        workspace: Workspace with the semantic IDs whose codes become tokens.
        tokens: Table with the column `token`, for any other vocabulary instead of semantic IDs.
        name: Name of the new checkpoint in the workspace.
        **keywords: Options of `StartOptions` and `gti_cli.options.RunOptions`. ``device`` is where the effect on
            ordinary text is measured. ``dtype`` is the number format of the written weights (auto: each tensor keeps
            its own). ``resume`` has no effect, because the stage takes seconds.

    Raises:
        InputError: When there is no such model, it has one of the tokens already, its tokenizer has no token that ends
            an answer, or the workspace has no semantic IDs.
    """
    refuse_unknown(keywords, StartOptions, RunOptions)
    start, run_options = pick(StartOptions, keywords), pick(RunOptions, keywords)
    tokens = tables.locate_all([tokens], run_options.columns)[0]
    space = Workspace(workspace)
    check_output_name(name, default="extended")
    if start.init not in (None, *INITIALIZERS):
        raise InputError(f"--init {start.init!r} is not known", remedy=f"use one of {', '.join(INITIALIZERS)}")
    start.check()
    device = choose_device(run_options.device)
    dtype = None if run_options.dtype == "auto" else choose_dtype(run_options.dtype, device)
    upstream, to_add, identity = collect_tokens_to_add(space, tokens)
    init = start.init or default_initializer(to_add)
    base = find_base(space, model)
    check_output_name(name, default="extended", start=base.artifact)
    with space.stage(
        "extend",
        name,
        [name],
        options={
            "model": model if not base.local else None,
            "init": init,
            "dtype": run_options.dtype,
            "tokens": tokens is not None,
            **({"distance": start.distance} if init in USE_DISTANCE else {}),
            **({} if start.measure_effect else {"measure_effect": False}),
        },
        inputs={"tokens": tokens, **({"model": base.path} if base.local else {})},
        upstream=upstream,
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            seed_everything(run_options.seed)
            placement = Placement(start.distance, run_options.seed)
            effect_device = device if start.measure_effect else None
            _extend(run, run.path(name), base, to_add, init, placement, dtype, effect_device)
            run.details["semantic_ids"] = identity
    return run.result()


def _extend(
    run: StageRun,
    target: Path,
    base: Checkpoint,
    to_add: TokensToAdd,
    init: str,
    placement: Placement,
    dtype: torch.dtype | None,
    effect_device: torch.device | None,
) -> None:
    """Write the checkpoint, check it by reading it again, and report to ``run`` what was done.

    Args:
        run: The stage's run.
        target: Folder to write into.
        base: The model to extend.
        to_add: The new tokens.
        init: One of `INITIALIZERS`.
        placement: Where the initializers from texts and codebooks put their rows.
        dtype: Number format of the written weights (None: each tensor keeps its own).
        effect_device: Device on which the effect on ordinary text is measured (None: no measurement).
    """
    tokenizer = gguf.read_tokenizer(Path(base.path)) if is_gguf(base) else load_tokenizer(base.path)
    end_of_turn(tokenizer)  # later stages need the token that ends an answer, so its absence is refused before any work
    _refuse_existing(tokenizer, to_add.all_names, base.path)
    vocabulary_before = tokenizer.get_vocab()
    extension = _write(base, target, tokenizer, to_add, init, placement, dtype)
    check_saved(target, vocabulary_before, extension.tokens)
    _report(run, extension)
    run.details.update(
        new_tokens=len(to_add.all_names),
        new_tokens_sha256=extension.tokens.digest,
        base_vocab=extension.rows_before,
        model=Path(base.path).name if base.local else base.path,
        initializer=init,
    )
    if is_gguf(base):
        _report_dequantization(run, Path(base.path), extension)
    if effect_device is not None:
        run.device = describe(effect_device)
        lm = load_model(str(target), effect_device, extension.dtype, where=base.path)
        text_effect = measure_text_effect(lm, tokenizer, torch.from_numpy(extension.tokens.ids))
        text_effect.warn_if_large(init)
        run.metrics.update(text_effect.metrics())


def _write(
    base: Checkpoint,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    to_add: TokensToAdd,
    init: str,
    placement: Placement,
    dtype: torch.dtype | None,
) -> Extension:
    """Write the extended checkpoint: file by file where the files allow it, else by loading the model."""
    generator = torch.Generator().manual_seed(placement.seed)
    folder = safetensors_folder(base)
    layout = find_layout(folder) if folder is not None else None
    if folder is not None and layout is not None:
        return extend_files(folder, layout, target, tokenizer, to_add, init, generator, dtype, placement)
    if is_gguf(base):
        lm = gguf.read_model(Path(base.path), dtype or torch.float32)
    else:
        lm = load_model(base.path, torch.device("cpu"), dtype or "auto")
        console.note("the files do not name the matrices as the model does, so the whole model was loaded to extend it")
    extension = add_tokens(lm, tokenizer, to_add, init, generator, placement)
    save_checkpoint(target, lm, tokenizer, extension.tokens)
    return extension


def _refuse_existing(tokenizer: PreTrainedTokenizerBase, names: list[str], path: str) -> None:
    vocabulary = tokenizer.get_vocab()
    clash = [name for name in names if name in vocabulary]
    if clash:
        raise InputError(
            f"the tokenizer has these tokens already: {list_some(clash)}",
            where=path,
            remedy="start from the model before it was extended",
        )


def _report_dequantization(run: StageRun, file: Path, extension: Extension) -> None:
    tensor_types = gguf.tensor_types(file)
    stored = str(extension.dtype).removeprefix("torch.")
    run.details.update(dequantised_to=stored, gguf_tensors=tensor_types)
    listed = ", ".join(f"{count} {name}" for name, count in tensor_types.items())
    console.warn(f"{file.name}: weights were dequantized to {stored}; they have the precision of the file ({listed})")


def _report(run: StageRun, extension: Extension) -> None:
    if extension.from_reserve:
        console.note(f"{extension.from_reserve:,} of the new tokens took unused rows of the padded vocabulary")
    run.counts.update(
        new_tokens=len(extension.tokens.names),
        rows_before=extension.rows_before,
        rows=extension.rows,
        rows_from_reserve=extension.from_reserve,
    )
    run.metrics.update(extension.metrics())
