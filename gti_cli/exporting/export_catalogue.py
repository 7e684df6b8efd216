"""``gti export catalog``: the semantic IDs of a workspace as the constraint that a serving engine reads.

What an engine cannot take is refused before anything is written.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import console, tables
from gti_cli.checkpoints.configuration import read_config
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.hub import file_of_checkpoint
from gti_cli.checkpoints.new_tokens import boundary_ids, code_ids
from gti_cli.exporting import flashrec, nvidia, static_index, xllm
from gti_cli.exporting.engine_catalogue import CatalogueExport, EngineCatalogue, WrittenFile
from gti_cli.exporting.engines import NVIDIA, QWEN3, STATIC, XLLM, check_engine, check_model
from gti_cli.exporting.transformers_script import transformers_script
from gti_cli.prompts.prompt_file import PROMPT_FILE, asks_for_next_item
from gti_cli.recommender.files import read_titles
from gti_cli.workspace import Workspace

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def export_catalogue(
    output: Path,
    workspace: Path | str,
    checkpoint: str | None = None,
    *,
    engine: str | None = None,
    force: bool = False,
) -> CatalogueExport:
    """Write the catalogue of a workspace for an engine.

    Args:
        output: The file.
        workspace: Folder of the workspace.
        checkpoint: Name of a checkpoint in it, or a folder. None: the files that need its token ids are refused.
        engine: One of `gti_cli.exporting.engines.ENGINES`. None: the tuples of codes as FlashRec has them, and with a
            checkpoint also a script for plain transformers; no engine's demands are checked.
        force: Replace further files that the engine needs beside the output.

    Raises:
        InputError: When the engine cannot take the catalogue or the checkpoint; nothing is written then.
    """
    check_engine(engine)
    space = Workspace(workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    located = None if checkpoint is None else _find(space, checkpoint, ids)
    if located is not None:
        check_model(engine, _model_type(located), located.path)
    catalogue = _read(space, ids, located)
    if engine == NVIDIA:
        return _for_nvidia(output, catalogue, located, ids)
    if engine == XLLM:
        return _for_xllm(output, catalogue, ids, force=force)
    if engine == STATIC:
        return _for_static(output, catalogue, ids)
    return _for_flashrec(output, catalogue, located, ids, engine)


def _find(space: Workspace, checkpoint: str, ids: Manifest) -> Checkpoint:
    """Find the checkpoint, and say what it loses in any engine."""
    located = find_checkpoint(space, checkpoint, checkpoint, "gti finetune", weights=False)
    check_same_ids(located, ids)
    if _has_prior(located):
        console.warn(
            f"{checkpoint} was trained with a behaviour prior, which serving engines and plain `generate` leave out: "
            "their lists differ from those of 'gti recommend', and are as a rule worse"
        )
    return located


def _has_prior(located: Checkpoint) -> bool:
    """Return whether a checkpoint was trained with a behaviour prior; the hub is asked for one that is there."""
    from gti_cli.priors.stored_prior import find_prior  # imports torch

    return find_prior(located) is not None


def _model_type(located: Checkpoint) -> str | None:
    """Return the type of a checkpoint's model; None for one that is not on this machine."""
    return str(read_config(Path(located.path)).get("model_type")) if located.local else None


def _read(space: Workspace, manifest: Manifest, located: Checkpoint | None) -> EngineCatalogue:
    """Read the semantic IDs, the titles, and the checkpoint's token ids of the codes."""
    ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    sizes = list(manifest.details["sizes"])
    if located is None:
        return EngineCatalogue(ids.item_ids, ids.codes, sizes, _titles(space, ids.item_ids))
    tokens = code_ids(located.item_tokens(), sizes)
    vocabulary = int(read_config(Path(located.path)).get("vocab_size") or 0) if located.local else 0
    return EngineCatalogue(ids.item_ids, ids.codes, sizes, _titles(space, ids.item_ids), tokens, vocabulary)


def _titles(space: Workspace, item_ids: Sequence[str]) -> list[str] | None:
    """Return the title of each item, or its whole text in a catalogue without titles; None where there are no texts."""
    path = space.path("items.parquet")
    if not path.is_file():
        return None
    titles = read_titles(path)
    return [titles.get(item, "") for item in item_ids]


def _finished(
    engine: str | None,
    catalogue: EngineCatalogue,
    ids: Manifest,
    files: list[WrittenFile],
    *use: str,
    command: str = "",
) -> CatalogueExport:
    semantic_ids = catalogue.semantic_ids
    lines = [*([command] if command else []), *use]
    items = len(catalogue.item_ids)
    return CatalogueExport(engine, items, semantic_ids, catalogue.levels, ids.identity, files, lines, command)


def _for_nvidia(output: Path, catalogue: EngineCatalogue, located: Checkpoint | None, ids: Manifest) -> CatalogueExport:
    files = nvidia.write_lines(output, catalogue)
    command = nvidia.server_command(located.path if located else "", output, catalogue)
    use = "The prompt ends where the first code follows, as gti_prompt.json in the checkpoint says."
    return _finished(NVIDIA, catalogue, ids, files, use, command=command)


def _for_xllm(output: Path, catalogue: EngineCatalogue, ids: Manifest, *, force: bool) -> CatalogueExport:
    files = xllm.write_vocabulary(output, catalogue, force=force)
    use = (
        f'Copy {output.name} into the folder of the model, write "vocab_file": "{output.name}" into its '
        "tokenizer_config.json, and start xLLM with --backend rec --enable_constrained_decoding.",
        "xLLM reads it for models of the type 'onerec' alone.",
    )
    return _finished(XLLM, catalogue, ids, files, *use)


def _for_static(output: Path, catalogue: EngineCatalogue, ids: Manifest) -> CatalogueExport:
    files, index = static_index.write_static_index(output, catalogue)
    logits = "logits[:, token_ids]" if catalogue.token_ids is not None else "the logits of the codes, level by level"
    use = (
        f"numpy.load({str(output)!r}) has the arguments of sparse_transition_torch and sparse_transition_jax; its "
        f"tokens are {logits}."
    )
    exported = _finished(STATIC, catalogue, ids, files, use)
    exported.facts.update({"tokens": len(index.start_mask), "dense_levels": index.dense_levels})
    return exported


def _for_flashrec(
    output: Path, catalogue: EngineCatalogue, located: Checkpoint | None, ids: Manifest, engine: str | None
) -> CatalogueExport:
    """Write the tuples; with a checkpoint also say how FlashRec serves it, and unless asked for it, transformers."""
    command = script = ""
    if located is not None and catalogue.token_ids is not None:
        kind = _model_type(located)
        if kind in (QWEN3, None):
            command = _flashrec_command(output, catalogue, located)
        else:
            console.note(f"no command for FlashRec, which serves dense Qwen3 models alone: this model is {kind!r}")
        if engine is None:
            script = _script(output, located)
    flashrec.write_catalog(output, catalogue.item_ids, catalogue.codes)
    files = [WrittenFile(output, "item of each tuple of codes", len(catalogue.item_ids))]
    exported = _finished(engine, catalogue, ids, files, command=command)
    return replace(exported, script=script)


def _flashrec_command(output: Path, catalogue: EngineCatalogue, located: Checkpoint) -> str:
    """Return the command that serves the checkpoint, with a warning where FlashRec misreads it."""
    flags, problem = flashrec.flashrec_flags(catalogue.token_ids or [], boundary_ids(located.item_tokens()))
    if problem:
        console.warn(problem)
    paths = ["--model-path", shlex.quote(located.path), "--sid-vocab-file", shlex.quote(str(output))]
    return " ".join(["flashrec --serve", *paths, *flags])


def _script(output: Path, located: Checkpoint) -> str:
    """Return the script for plain transformers; "" where the checkpoint holds no question for the next item."""
    if asks_for_next_item(file_of_checkpoint(located.path, located.local, PROMPT_FILE)):
        return transformers_script(located.path, output, without_prior=_has_prior(located))
    console.note(
        "no script for plain transformers: the checkpoint holds no question for the next item (gti_prompt.json), which "
        "'gti finetune' writes for the task next-item"
    )
    return ""
