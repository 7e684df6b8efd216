"""The stage `gti extend`: add tokens to a tokenizer and a causal LM, each with one id and rows of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gti_cli import console, tables
from gti_cli.cards.card import write_card
from gti_cli.checkpoints.devices import choose_device, choose_dtype, describe, seed_everything
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError
from gti_cli.options import RunOptions, pick, refuse_unknown
from gti_cli.priors.stored_prior import keep_prior, leave_prior
from gti_cli.prompts.chat import choose_prompt_form, end_of_turn
from gti_cli.prompts.text_as_data import data_encoder, note_naming
from gti_cli.tables.cold_start.held_out_items import hand_on
from gti_cli.vocabulary import gguf
from gti_cli.vocabulary.architectures.causality import check_causal, check_model_causal
from gti_cli.vocabulary.architectures.kinds import check_kind
from gti_cli.vocabulary.architectures.text_model import TextModel, text_config
from gti_cli.vocabulary.base_model import find_base, is_gguf, read_kind, safetensors_folder, take_text_model
from gti_cli.vocabulary.in_memory import add_tokens
from gti_cli.vocabulary.initializers.placement import Placement
from gti_cli.vocabulary.layout import check_nothing_is_missing, find_layout
from gti_cli.vocabulary.new_rows import FROM_TEXTS, INITIALIZERS, USE_DISTANCE, Extension, default_initializer
from gti_cli.vocabulary.old_words import OldWords
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions
from gti_cli.vocabulary.streamed import extend_files
from gti_cli.vocabulary.text_effect import measure_text_effect
from gti_cli.vocabulary.tokenizer import check_saved, refuse_known_tokens
from gti_cli.vocabulary.tokens_to_add import TokensToAdd, collect_tokens_to_add
from gti_cli.workspace import StageRun, Workspace, check_output_name
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
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
        InputError: When there is no such model, it is quantized or no causal language model, it has one of the tokens
            already, its tokenizer has no token that ends an answer, or the workspace has no semantic IDs.
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
            "dtype": run_options.dtype,
            "tokens": tokens is not None,
            **_recorded_start(start, init),
        },
        inputs={"tokens": tokens, **({"model": base.path} if base.local else {})},
        upstream=upstream,
        seed=run_options.seed,
        force=run_options.force,
        resume=run_options.resume,
        checkpoint=True,
        describe=partial(write_card, space, base),
    ) as run:
        if not run.done:
            seed_everything(run_options.seed)
            placement = Placement(start.distance, run_options.seed)
            effect_device = device if start.measure_effect else None
            _extend(run, run.path(name), base, to_add, init, placement, dtype, effect_device)
            run.details["semantic_ids"] = identity
            hand_on(base.path, run.path(name), run)
    return run.result()


def _recorded_start(start: StartOptions, init: str) -> dict[str, Any]:
    """The options of the manifest about the start of the new rows, those without effect left out."""
    return {
        "init": init,
        **({"distance": start.distance} if init in USE_DISTANCE else {}),
        **({} if start.measure_effect else {"measure_effect": False}),
    }


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
    config = None if is_gguf(base) else read_kind(base)
    tokenizer = gguf.read_tokenizer(Path(base.path)) if config is None else load_tokenizer(base.path)
    end_of_turn(tokenizer)  # later stages need the token that ends an answer, so its absence is refused before any work
    if not (Path(base.path) / NEW_TOKENS_FILE).is_file():
        choose_prompt_form(tokenizer)  # a model that gti extended before is asked as it was trained
    refuse_known_tokens(tokenizer, to_add, base.path)
    old_words = OldWords.before(tokenizer, to_add) if to_add.table is not None else None
    vocabulary_before = tokenizer.get_vocab()
    _count_naming(run, tokenizer, to_add, init)
    extension, is_causal = _write(run, base, config, target, tokenizer, to_add, init, placement, dtype)
    check_saved(target, vocabulary_before, extension.tokens)
    if to_add.table is not None:
        keep_prior(base, target, run)
    else:
        leave_prior(base, run, "which is about other semantic IDs: it is left out")
    _report(run, extension)
    if old_words is not None:
        old_words.report_changed(tokenizer, run)
    run.details.update(
        new_tokens=len(to_add.all_names),
        new_tokens_sha256=extension.tokens.digest,
        base_vocab=extension.rows_before,
        model=base.pinned or (Path(base.path).name if base.local else base.path),
        initializer=init,
    )
    if is_gguf(base):
        _report_dequantization(run, Path(base.path), extension)
    if effect_device is not None:
        run.device = describe(effect_device)
        lm = load_model(str(target), effect_device, extension.dtype, where=base.path)
        if not is_causal:
            check_model_causal(lm, base.path)
        text_effect = measure_text_effect(lm, tokenizer, torch.from_numpy(extension.tokens.ids))
        text_effect.warn_if_large(init)
        run.metrics.update(text_effect.metrics())
        return
    check_nothing_is_missing(target, base.path)
    if not is_causal:
        console.note("no small model of this architecture can be made, so nothing tells whether it sees later tokens")


def _count_naming(run: StageRun, tokenizer: PreTrainedTokenizerBase, to_add: TokensToAdd, init: str) -> None:
    """Count and say how many of the texts that the new rows start from hold the name of a control token."""
    if init not in FROM_TEXTS:
        return
    texts = to_add.item_texts if to_add.item_tokens is not None else to_add.descriptions
    naming = sum(map(data_encoder(tokenizer).holds_name, texts))
    run.counts["texts_naming_tokens"] = naming
    note_naming(naming, len(texts))


def _write(
    run: StageRun,
    base: Checkpoint,
    config: PreTrainedConfig | None,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    to_add: TokensToAdd,
    init: str,
    placement: Placement,
    dtype: torch.dtype | None,
) -> tuple[Extension, bool]:
    """Write the extended checkpoint: file by file where the files allow it, else by loading the model.

    Returns:
        What was done, and whether a trial has shown that the model sees no later token.
    """
    generator = torch.Generator().manual_seed(placement.seed)
    if config is None:
        lm = gguf.read_model(Path(base.path), dtype or torch.float32)
        check_kind(lm.config, base.path)
        is_causal = check_causal(lm.config, base.path)
    else:
        # Before anything is downloaded but the configuration.
        is_causal = check_causal(text_config(config) or config.get_text_config(decoder=True), base.path)
        folder = safetensors_folder(base)
        text = take_text_model(folder, config, base.path)
        layout = find_layout(folder, text) if folder is not None else None
        if text is not None:
            _report_text_model(run, config, text, base.path)
        if folder is not None and layout is not None:
            arguments = (tokenizer, to_add, init, generator, dtype, placement, text)
            return extend_files(folder, layout, target, *arguments), is_causal
        lm = load_model(base.path, torch.device("cpu"), dtype or "auto")
        console.note("the files do not name the matrices as the model does, so the whole model was loaded to extend it")
    extension = add_tokens(lm, tokenizer, to_add, init, generator, placement)
    save_checkpoint(target, lm, tokenizer, extension.tokens)
    return extension, is_causal


def _report_text_model(run: StageRun, wrapper: PreTrainedConfig, text: TextModel, path: str) -> None:
    run.details.update(text_model_of=wrapper.model_type, tensors_left_out=text.left_out)
    console.note(
        f"{path} is a multimodal model ({wrapper.model_type}): its text model ({text.config.model_type}) is extended, "
        f"and {text.left_out:,} tensors of its other parts are left out"
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
