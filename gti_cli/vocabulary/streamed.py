"""Extend a checkpoint of safetensors by copying its files, without loading the model."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.configuration import drop_missing_attention
from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE, NewTokens
from gti_cli.checkpoints.older_transformers import write_older_config_keys
from gti_cli.checkpoints.saving import save_tokenizer
from gti_cli.prompts.prompt_file import PROMPT_FILE
from gti_cli.tensors.matrix_rows import StoredRows
from gti_cli.tensors.rewrite import DTYPES, Growth, rewrite
from gti_cli.tensors.safetensors_rows import TensorPlace
from gti_cli.vocabulary.architectures.text_model import PROCESSOR_FILES, TextModel
from gti_cli.vocabulary.initializers.from_pretrained_rows import mean_row
from gti_cli.vocabulary.initializers.placement import AT_USUAL_DISTANCE, Placement
from gti_cli.vocabulary.layout import Layout, check_nothing_else_grows
from gti_cli.vocabulary.new_rows import Extension, describe_new_rows, initialize_rows
from gti_cli.vocabulary.tokenizer import grow_tokenizer
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from gti_cli.workspace import CHECKPOINT_MANIFEST
from gti_cli.workspace.sealed import CARD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WEIGHT_SUFFIXES = (
    *(".safetensors", ".index.json", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ot"),
    *(".ckpt", ".pkl", ".pickle", ".joblib"),  # pickles of other kinds, which nobody should load
)
# These files are written with the new tokens. An old one among them would be read by some tokenizer classes.
_TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "spm.model",
}  # fmt: skip


def extend_files(
    folder: Path,
    layout: Layout,
    target: Path,
    tokenizer: PreTrainedTokenizerBase,
    tokens: TokensToAdd,
    init: str,
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
    placement: Placement = AT_USUAL_DISTANCE,
    text: TextModel | None = None,
) -> Extension:
    """Write a checkpoint with a row for each new token into another folder.

    Unused rows of a padded vocabulary are taken before the matrices grow. All other numbers are copied byte for byte.

    Args:
        folder: The checkpoint, with safetensors.
        layout: Its tensors with a row for each token.
        target: Folder to write into; it is created if it does not exist.
        tokenizer: Tokenizer of the checkpoint; it gains the tokens in place.
        tokens: The new tokens.
        init: One of `new_rows.INITIALIZERS`.
        generator: Random generator of the initializers that draw.
        dtype: Number format in which all floating-point tensors are stored (None: each keeps its own).
        placement: Where the initializers from texts and codebooks put their rows.
        text: The text model in the files, where they are a multimodal wrapper's: it alone is written.

    Raises:
        InputError: When the initializer lacks what it needs, a pretrained row is not finite, or the architecture has
            another tensor that grows with the vocabulary.
    """
    # Rows behind the tokenizer's last token are padding of the vocabulary: no initializer may see them.
    pretrained = [StoredRows(place, count_used_rows(tokenizer)) for place in layout.matrices]
    new_rows = initialize_rows(pretrained, tokens, tokenizer, init, generator, placement)
    added = grow_tokenizer(tokenizer, tokens.all_names)
    height = max(layout.height, int(added.ids.max()) + 1)
    if height > layout.height:
        check_nothing_else_grows(folder, height, text)
    target.mkdir(parents=True, exist_ok=True)
    # Rows that belong to no new token are appended, too, if the tokenizer had more tokens than the model rows: they
    # get the mean row.
    growths = {
        place.name: _growth(height, added, new, mean_row(old))
        for place, old, new in zip(layout.matrices, pretrained, new_rows, strict=True)
    }
    growths.update({copy.name: growths[layout.matrices[0].name] for copy in layout.copies})
    if layout.bias is not None:
        # The head's bias of a new token is the mean of the old tokens' biases.
        mean_bias = _vector(layout.bias)[: len(pretrained[0])].double().mean()
        growths[layout.bias.name] = _growth(height, added, mean_bias.expand(len(added.ids)), mean_bias)
    if text is None:
        counts = rewrite(folder, target, growths, dtype)
        _write_config(folder, target, height, dtype, untied=len(layout.matrices) > 1)
    else:
        counts = rewrite(folder, target, growths, dtype, text.names)
        _write_text_config(text, target, height, dtype)
    write_older_config_keys(target)
    _copy_rest(folder, target, set() if text is None else PROCESSOR_FILES)
    save_tokenizer(target, tokenizer, added)
    stored_dtypes = [dtype or DTYPES[place.dtype] for place in layout.matrices]
    described = [describe_new_rows(*matrix) for matrix in zip(new_rows, pretrained, stored_dtypes, strict=True)]
    return Extension(added, described, layout.height, height, stored_dtypes[0], counts)


def _growth(height: int, added: NewTokens, values: torch.Tensor, filler: torch.Tensor) -> Growth:
    """Say how a tensor grows; `rewrite` needs the ids in ascending order."""
    ids, order = torch.sort(torch.from_numpy(added.ids))
    return Growth(height, ids, values[order], filler.to(values.dtype))


def _vector(place: TensorPlace) -> torch.Tensor:
    """Read a whole vector."""
    return torch.frombuffer(bytearray(b"".join(place.raw())), dtype=DTYPES[place.dtype])


def _write_config(folder: Path, target: Path, height: int, dtype: torch.dtype | None, *, untied: bool) -> None:
    """Copy the configuration with the new size of the vocabulary, and with the number format if that changes.

    With ``untied`` it says that embedding and head are two, also where the source's configuration ties them.
    Some configurations have the text model's part in ``text_config``; the size stands there and perhaps outside, too.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    inner = config.get("text_config")
    if isinstance(inner, dict):
        inner["vocab_size"] = height
    if "vocab_size" in config or not isinstance(inner, dict):
        config["vocab_size"] = height
    for part in (config, inner):
        if untied and isinstance(part, dict) and part.get("tie_word_embeddings"):
            part["tie_word_embeddings"] = False
    if dtype is not None:
        for part in (config, inner):
            if isinstance(part, dict) and (part is config or "dtype" in part or "torch_dtype" in part):
                part.pop("torch_dtype", None)
                part["dtype"] = str(dtype).removeprefix("torch.")
    drop_missing_attention(config)
    (target / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _write_text_config(text: TextModel, target: Path, height: int, dtype: torch.dtype | None) -> None:
    """Write the configuration of a wrapper's text model with the new size of the vocabulary."""
    config: Any = copy.deepcopy(text.config)
    config.vocab_size = height
    config.dtype = dtype or config.dtype
    config.save_pretrained(target)


def _copy_rest(folder: Path, target: Path, others: set[str]) -> None:
    """Copy generation configuration, licence and the like.

    Weights are left out, ``others``, and files that this stage writes itself or that belong to another stage.
    """
    written_by_gti = {
        "config.json",
        CARD,
        CHECKPOINT_MANIFEST,
        NEW_TOKENS_FILE,
        PROMPT_FILE,
        "trajectory.parquet",
        *others,
    }
    for path in sorted(folder.iterdir()):
        skipped = path.name in written_by_gti or path.name in _TOKENIZER_FILES or path.name.startswith(".")
        if path.is_file() and not skipped and not path.name.endswith(_WEIGHT_SUFFIXES):
            shutil.copyfile(path, target / path.name)
