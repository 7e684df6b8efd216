"""The stage `gti extend`: new tokens into a tokenizer and a causal LM, each one id, with rows of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gti_cli import console, tables
from gti_cli.errors import InputError, examples
from gti_cli.manifest import Manifest
from gti_cli.training.checkpoints import find_checkpoint, load_model, load_tokenizer, save_checkpoint
from gti_cli.training.precision import choose_device, choose_dtype, describe, seed_everything
from gti_cli.vocabulary.initializers import INITIALIZERS
from gti_cli.vocabulary.meaning import FROM_MEANING, Meanings
from gti_cli.vocabulary.old_language import effect
from gti_cli.vocabulary.tokens import NewTokens, all_names, parse_name
from gti_cli.workspace import Workspace, check_output_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STARTS = (*INITIALIZERS, *FROM_MEANING)


def extend(
    model: str,
    workspace: Path | str = Path("gti-workspace"),
    *,
    tokens: Path | str | None = None,
    init: str = "mean",
    name: str = "extended",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    force: bool = False,
    resume: bool = True,
) -> Manifest:
    """Add new tokens to ``model`` and write the checkpoint ``name``.

    Args:
        model: hub name or folder of a causal LM. workspace: holds the semantic IDs whose codes become tokens.
        tokens: instead, a table with a column `token`: any other vocabulary.
        init: how the new rows start, one of `STARTS`. name: of the output folder in the workspace.
        seed: of random rows. device: where the effect on ordinary text is measured.
        dtype: of the written weights (auto: as they are).
        force: replace an extension made otherwise. resume: has no effect, the stage takes seconds.

    Raises:
        InputError: no model, tokens that it has already, no semantic IDs.
    """
    space = Workspace(workspace)
    check_output_name(name, default="extended")
    if init not in STARTS:
        raise InputError(f"--init {init!r} is not known", remedy=f"use one of {', '.join(STARTS)}")
    upstream, meanings, identity = _wanted(space, tokens)
    base = find_checkpoint(space, model, model, "gti extend")
    options = {"model": model if not base.local else None, "init": init, "dtype": dtype, "tokens": tokens is not None}
    with space.stage(
        "extend",
        name,
        [name],
        options=options,
        inputs={"tokens": tokens, **({"model": base.path} if base.local else {})},
        upstream=upstream,
        seed=seed,
        force=force,
        resume=resume,
        checkpoint=True,
    ) as run:
        if not run.done:
            chosen = choose_device(device)
            seed_everything(seed)
            tokenizer = load_tokenizer(base.path)
            _refuse_known(tokenizer, meanings.names, base.path)
            lm = load_model(base.path, torch.device("cpu"), _stored_dtype(base.path, dtype, chosen))
            before = matrices(lm)[0].shape[0]
            added = add_tokens(lm, tokenizer, meanings, init, torch.Generator().manual_seed(seed))
            save_checkpoint(run.path(name), lm, tokenizer, added)
            run.device = describe(chosen)
            lm.to(chosen)  # type: ignore[arg-type]
            old_language = effect(lm, tokenizer, torch.from_numpy(added.ids))
            old_language.say(init)
            run.metrics.update(old_language.metrics())
            run.details.update(
                semantic_ids=identity,
                new_tokens=len(meanings.names),
                new_tokens_sha256=added.digest,
                base_vocab=before,
                model=Path(base.path).name if base.local else base.path,
                initializer=init,
            )
            run.counts.update(_counts(lm, before, added))
    return run.result()


def add_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    meanings: Meanings,
    init: str,
    generator: torch.Generator,
) -> NewTokens:
    """Add ``meanings.names`` to ``tokenizer``, each with a row in the input and, where untied, the output matrix.

    Rows that a padded vocabulary holds in reserve are used before the matrix grows; old rows keep their bits.
    """
    from tokenizers import AddedToken

    names, old_vocab = meanings.names, len(tokenizer)
    # Rows in reserve are untrained: statistics are of the rows that the tokenizer knew.
    known = [matrix.detach()[:old_vocab] for matrix in matrices(model)]
    if init in FROM_MEANING:  # before the tokenizer grows: a description must not become the token that it describes
        starts = [FROM_MEANING[init](rows, meanings, tokenizer) for rows in known]
    else:
        starts = [INITIALIZERS[init](rows, len(names), generator) for rows in known]
    # Not "special": decoding with skip_special_tokens must keep them. Not normalised: exact inside any text.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in names])
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(names))
    bias = head_bias(model)
    bias_start = None if bias is None else bias.detach()[:old_vocab].float().mean()
    if len(tokenizer) > matrices(model)[0].shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for matrix, start in zip(matrices(model), starts, strict=True):
            matrix[ids] = start.to(matrix.dtype)
        bias = head_bias(model)
        if bias is not None and bias_start is not None:
            bias[ids] = bias_start.to(bias.dtype)
    places = [parse_name(name) or (-1, -1) for name in names]
    levels, codes = np.asarray(places, dtype=np.int32).reshape(-1, 2).T
    return NewTokens(names, ids.numpy().astype(np.int64), levels, codes)


def matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The input embedding matrix (V, d) and, where the head is untied, the output matrix (V, d)."""
    embedding: torch.Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    untied = head is not None and head.weight.data_ptr() != embedding.data_ptr()
    return [embedding, head.weight] if untied else [embedding]


def head_bias(model: PreTrainedModel) -> torch.Tensor | None:
    """The head's bias (V,), where it has one."""
    return getattr(model.get_output_embeddings(), "bias", None)  # type: ignore[no-untyped-call]


def _wanted(space: Workspace, tokens: Path | str | None) -> tuple[dict[str, Manifest], Meanings, str | None]:
    """(upstream, the new tokens and what is known about them, identity of the semantic IDs)."""
    if tokens is None:
        ids = space.require("semantic_ids", "gti build-ids")
        return {"semantic_ids": ids}, _meanings_of_codes(space, ids), ids.identity
    table = tables.read(tokens, ["token"])
    names = tables.ids(table, "token", tokens, unique=True)
    described = "description" in table.column_names
    return {}, Meanings(names, tables.strings(table, "description", tokens) if described else []), None


def _meanings_of_codes(space: Workspace, ids: Manifest) -> Meanings:
    """The items' texts and codes, and the codebooks; whatever of it the workspace has."""
    sizes = ids.details["sizes"]
    names = all_names(sizes)
    items, codebooks = space.path("items.parquet"), space.path("codebooks.safetensors")
    levels: list[Any] = []
    if "codebooks.safetensors" in ids.outputs:
        from safetensors.numpy import load_file

        stored = load_file(codebooks)
        levels = [stored[f"level_{level}"] for level in range(len(sizes))]
    if "items.parquet" not in ids.outputs:
        return Meanings(names, codebooks=levels)
    table = tables.read(items, ["item_id", "text"])
    texts = dict(zip(tables.ids(table, "item_id", items), tables.strings(table, "text", items), strict=True))
    known = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    starts = np.cumsum([0, *sizes[:-1]])
    return Meanings(names, [], [texts[item] for item in known.item_ids], known.codes + starts, levels)


def _refuse_known(tokenizer: PreTrainedTokenizerBase, names: list[str], path: str) -> None:
    known = tokenizer.get_vocab()
    clash = [name for name in names if name in known]
    if clash:
        raise InputError(
            f"the tokenizer has these tokens already: {examples(clash)}",
            where=path,
            remedy="start from the model before it was extended",
        )


def _stored_dtype(path: str, dtype: str, device: torch.device) -> torch.dtype:
    """Extension moves bits, it computes nothing: weights stay in the format in which they are stored."""
    if dtype != "auto":
        return choose_dtype(dtype, device)
    from transformers import AutoConfig

    stored: Any = AutoConfig.from_pretrained(path).dtype
    return stored if isinstance(stored, torch.dtype) else torch.float32


def _counts(model: PreTrainedModel, before: int, added: NewTokens) -> dict[str, Any]:
    rows = matrices(model)[0].shape[0]
    reserve = int((added.ids < before).sum())
    if reserve:
        console.note(f"{reserve:,} of the new tokens took rows that the padded vocabulary held in reserve")
    return {"new_tokens": len(added.names), "rows_before": before, "rows": rows, "rows_from_reserve": reserve}
