"""Extend a checkpoint of safetensors without loading its model: only rows over the vocabulary are read, in blocks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE, NewTokens
from gti_cli.checkpoints.saving import save_tokenizer
from gti_cli.tensors.matrix_rows import StoredRows
from gti_cli.tensors.rewrite import DTYPES, Growth, rewrite
from gti_cli.tensors.safetensors_rows import TensorPlace
from gti_cli.vocabulary.initializers import mean_row
from gti_cli.vocabulary.layout import Layout, check_nothing_else_grows
from gti_cli.vocabulary.meaning import AT_USUAL_DISTANCE, Meanings, Placement
from gti_cli.vocabulary.start import Extension, describe_start, start_rows
from gti_cli.vocabulary.tokenizer import grow_tokenizer
from gti_cli.workspace import CHECKPOINT_MANIFEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WEIGHTS = (".safetensors", ".index.json", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ot")
# Written anew with the new tokens; an old one beside it would be read by some tokenizer classes.
_TOKENIZER = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "spm.model",
}  # fmt: skip


def extend_files(
    folder: Path,
    layout: Layout,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    meanings: Meanings,
    init: str,
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
    how: Placement = AT_USUAL_DISTANCE,
) -> Extension:
    """Write the checkpoint ``folder``, with a row for each new token, as the checkpoint ``target``.

    Rows that a padded vocabulary holds in reserve are used before the matrix grows. All other numbers are copied.

    Args:
        folder: has safetensors. layout: of it. target: an empty folder, or none yet.
        tokenizer: of ``folder``; gains the tokens. meanings: the new tokens. init: one of `start.STARTS`.
        generator: of random rows. dtype: store all floating-point tensors so (None: each as it is).
        how: where rows are placed that start from a meaning.

    Raises:
        InputError: what the initialiser needs is missing; another tensor grows with the vocabulary.
    """
    known = [StoredRows(place, count_used_rows(tokenizer)) for place in layout.matrices]
    starts = start_rows(known, meanings, tokenizer, init, generator, how)
    added = grow_tokenizer(tokenizer, meanings.all_names)
    height = max(layout.height, int(added.ids.max()) + 1)
    if height > layout.height:
        check_nothing_else_grows(folder, height)
    target.mkdir(parents=True, exist_ok=True)
    growths = {
        place.name: _growth(height, added, start, mean_row(rows))
        for place, rows, start in zip(layout.matrices, known, starts, strict=True)
    }
    growths.update({copy.name: growths[layout.matrices[0].name] for copy in layout.copies})
    if layout.bias is not None:
        usual = _vector(layout.bias)[: len(known[0])].double().mean()
        growths[layout.bias.name] = _growth(height, added, usual.expand(len(added.ids)), usual)
    counts = rewrite(folder, target, growths, dtype)
    _write_config(folder, target, height, dtype)
    _copy_rest(folder, target)
    save_tokenizer(target, tokenizer, added)
    stored = [dtype or DTYPES[place.dtype] for place in layout.matrices]
    described = [describe_start(*each) for each in zip(starts, known, stored, strict=True)]
    return Extension(added, described, layout.height, height, stored[0], counts)


def _growth(height: int, added: NewTokens, values: torch.Tensor, filler: torch.Tensor) -> Growth:
    ids, order = torch.sort(torch.from_numpy(added.ids))
    return Growth(height, ids, values[order], filler.to(values.dtype))


def _vector(place: TensorPlace) -> torch.Tensor:
    return torch.frombuffer(bytearray(b"".join(place.raw())), dtype=DTYPES[place.dtype])


def _write_config(folder: Path, target: Path, height: int, dtype: torch.dtype | None) -> None:
    """The configuration as it is, but for the size of the vocabulary and the number format where it changes."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    inner = config.get("text_config")
    if isinstance(inner, dict):
        inner["vocab_size"] = height
    if "vocab_size" in config or not isinstance(inner, dict):
        config["vocab_size"] = height
    if dtype is not None:
        for part in (config, inner):
            if isinstance(part, dict) and (part is config or "dtype" in part or "torch_dtype" in part):
                part.pop("torch_dtype", None)
                part["dtype"] = str(dtype).removeprefix("torch.")
    (target / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _copy_rest(folder: Path, target: Path) -> None:
    """Generation configuration, licence and the like; no weights, nothing that is written anew or of another stage."""
    ours = {"config.json", CHECKPOINT_MANIFEST, NEW_TOKENS_FILE, "trajectory.parquet"}
    for path in sorted(folder.iterdir()):
        skipped = path.name in ours or path.name in _TOKENIZER or path.name.startswith(".")
        if path.is_file() and not skipped and not path.name.endswith(_WEIGHTS):
            shutil.copyfile(path, target / path.name)
