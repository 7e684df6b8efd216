"""Stage ``merge``: write an adapter of PEFT, merged with its base model, as a checkpoint of the workspace."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.cards.card import write_card
from gti_cli.checkpoints.finding import Checkpoint, find_checkpoint
from gti_cli.checkpoints.hub import file_of_checkpoint
from gti_cli.checkpoints.new_tokens import check_tokenizer
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError
from gti_cli.prompts.prompt_file import PROMPT_FILE
from gti_cli.workspace import StageRun, Workspace, check_output_name, processes

if TYPE_CHECKING:
    from gti_cli.workspace.manifest import Manifest


def merge(
    adapter: Path | str,
    name: str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    base: str | None = None,
    force: bool = False,
    resume: bool = True,
) -> Manifest:
    """Merge an adapter into its base model, and write the result as a checkpoint.

    The weights keep the number format of the base model. The list of new tokens, the tokenizer and ``gti_prompt.json``
    come from the adapter's folder, or from the base where the adapter has none.

    Args:
        adapter: Folder of the adapter.
        name: Folder for the checkpoint in the workspace.
        workspace: Folder of the workspace.
        base: Base model: a checkpoint of the workspace, a folder, or a name on the hub. None: the one that the
            adapter's ``adapter_config.json`` names.
        force: Replace a checkpoint of this name that was made from other inputs.
        resume: Has no effect, because the stage takes seconds.

    Raises:
        InputError: When there is no such adapter, its base is not there or does not fit, it cannot be merged, or the
            name cannot be used.
    """
    space = Workspace(workspace)
    source = find_checkpoint(space, str(adapter), str(adapter), "gti finetune", adapters=True, base=base)
    if source.base is None:
        raise InputError(
            "--merge-into is for adapters, and this is a whole checkpoint already",
            where=source.path,
            remedy="leave --merge-into out",
        )
    check_output_name(name, default="merged", start=source.base.artifact, option="--merge-into")
    existing = space.manifest(name)
    if existing is not None and existing.command != "merge":
        raise InputError(
            f"--merge-into {name!r} is a checkpoint that 'gti {existing.command}' wrote", remedy="give another name"
        )
    with space.stage(
        "merge",
        name,
        [name],
        options=_recorded(source),
        inputs=source.inputs(),
        upstream=source.upstream(),
        force=force,
        resume=resume,
        checkpoint=True,
        describe=partial(write_card, space, source.base),
    ) as run:
        if not run.done:
            _write(source, run, run.path(name))
    return run.result()


def _recorded(source: Checkpoint) -> dict[str, object]:
    """Return the options for the manifest: the base model, and how many items of a history its prompts show."""
    assert source.base is not None
    known = source.known_manifest.options.get("history") if source.known_manifest else None
    return {
        **({"history": known} if known is not None else {}),
        **({} if source.base.local else {"base": source.base.path}),
    }


def _write(source: Checkpoint, run: StageRun, folder: Path) -> None:
    """Write the merged checkpoint, and report to ``run``."""
    import torch

    tokenizer, tokens = source.load_tokenizer(), source.item_tokens()
    check_tokenizer(tokenizer, tokens)
    model = source.load_model(torch.device("cpu"), "auto")
    save_checkpoint(folder, model, tokenizer, tokens)
    prompt = file_of_checkpoint(source.path, source.local, PROMPT_FILE)
    if prompt is None and source.base is not None:
        prompt = file_of_checkpoint(source.base.path, source.base.local, PROMPT_FILE)
    if prompt is not None and processes.rank() == 0:
        shutil.copyfile(prompt, folder / PROMPT_FILE)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    run.device = "cpu"
    run.details.update(source.known_manifest.details if source.known_manifest else {})
    run.details.pop("held_out_items", None)  # nothing tells what the adapter was trained on
    run.details.update(source.details())
    run.details.update(
        new_tokens=len(tokens.names),
        new_tokens_sha256=tokens.digest,
        saved_dtype=str(model.dtype).removeprefix("torch."),
        tied=head.weight is embedding.weight,
    )
    run.counts.update(rows=int(embedding.weight.shape[0]))  # type: ignore[index]
