"""Find, load and write checkpoints: plain Hugging Face folders with a list of new tokens and a manifest inside."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.checkpoints.hub import require_on_hub
from gti_cli.checkpoints.new_tokens import (
    NEW_TOKENS_FILE,
    NewTokens,
    joined,
    named_codes,
    read_new_tokens,
)
from gti_cli.errors import InputError, examples, first_line
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# One of these lies beside every tokenizer, whatever its kind.
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "*.spm", "tekken.json", "merges.txt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to start from.

    Attributes:
        path: folder, or hub name. local: it is a folder on this machine.
        manifest: of the stage that wrote it (None: not ours).
        artifact: its name in the workspace (None: it lies elsewhere).
    """

    path: str
    local: bool
    manifest: Manifest | None
    artifact: str | None

    def new_tokens(self) -> NewTokens:
        """Its list of new tokens; where another tool wrote it, without our list, what its tokenizer calls codes.

        Raises:
            InputError: neither.
        """
        if not (Path(self.path) / NEW_TOKENS_FILE).is_file():
            found = named_codes(load_tokenizer(self.path).get_vocab())
            if found is not None:
                return found
        return read_new_tokens(self.path)

    def item_tokens(self) -> NewTokens:
        """Its new tokens with the codes among them: of a checkpoint that got other words behind its codes, both.

        Raises:
            InputError: as `new_tokens`.
        """
        listed = self.new_tokens()
        if (listed.levels >= 0).any():
            return listed
        found = named_codes(load_tokenizer(self.path).get_vocab())
        return listed if found is None else joined(found, listed)

    def history_length(self, given: int | None, option: str, default: int) -> int:
        """How many items of a history to show: as given, else as the checkpoint was fine-tuned with.

        Warns where both are known and differ.

        Args:
            given: What the caller asked for.
            option: The caller's option, for the warning.
            default: For a checkpoint that does not tell.

        Returns:
            The most items that a prompt shows.
        """
        trained = self.manifest.options.get("history") if self.manifest else None
        if given is not None and trained is not None and given != trained:
            console.warn(f"{option} {given}, but the checkpoint was fine-tuned with {trained}")
        return int(given or trained or default)

    def upstream(self) -> dict[str, Manifest]:
        """For `Workspace.stage(upstream=…)`."""
        return {self.artifact: self.manifest} if self.artifact and self.manifest else {}

    def inputs(self) -> dict[str, str]:
        """For `Workspace.stage(inputs=…)`: a folder outside the workspace is digested as an input."""
        return {"checkpoint": self.path} if self.local and not self.artifact else {}


def find_checkpoint(
    workspace: Workspace, given: str | None, default: str, made_by: str, *, hub: bool = True
) -> Checkpoint:
    """Resolve ``--from`` / CKPT: a folder of the workspace by name, any folder, or a hub name.

    Args:
        workspace: where to look first. given: what the caller named (None: ``default``, which must be there).
        default: the artifact that the stage before writes. made_by: that stage, for the error line.
        hub: ask the hub for what is not here; False: it is returned as not ``local``, for the caller to refuse.

    Raises:
        InputError: nothing there or on the hub; no checkpoint; files changed since their stage wrote them.
    """
    name = default if given is None else given
    inside = workspace.path(name)
    if given is None or (Path(name).name == name and (inside / CHECKPOINT_MANIFEST).is_file()):
        return Checkpoint(str(inside), True, workspace.require(name, made_by), name)
    folder = Path(name)
    if folder.is_dir():
        if folder.resolve().parent == workspace.root.resolve() and (folder / CHECKPOINT_MANIFEST).is_file():
            return find_checkpoint(workspace, folder.resolve().name, default, made_by)
        if not (folder / "config.json").is_file():
            raise InputError("no config.json: this folder is no Hugging Face checkpoint", where=name)
        own = folder / CHECKPOINT_MANIFEST
        return Checkpoint(name, True, read_manifest(own) if own.is_file() else None, None)
    if folder.exists():
        raise InputError("this is a file, not a checkpoint folder", where=name)
    if name.count("/") > 1 or name.startswith((".", "/")):
        raise InputError("no such folder", where=name, remedy="check the path")
    if hub:
        require_on_hub(name, workspace)
    return Checkpoint(name, False, None, None)


def check_same_ids(checkpoint: Checkpoint, semantic_ids: Manifest) -> None:
    """Refuse a checkpoint that was made from other semantic IDs than the workspace holds.

    Raises:
        InputError: their lineages differ.
    """
    made_from = checkpoint.manifest.details.get("semantic_ids") if checkpoint.manifest else None
    if made_from is not None and made_from != semantic_ids.identity:
        raise InputError(
            "the checkpoint was made from other semantic IDs than this workspace holds now",
            where=checkpoint.path,
            remedy="run 'gti extend' and the stages after it again with --force, or use another --workspace",
        )


def load_tokenizer(path: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer by folder or hub name; a pad token is chosen where it has none (the end-of-sequence token).

    ``options`` go to transformers (``gguf_file``).

    Raises:
        InputError: none there, a damaged one, or one without a vocabulary or an end-of-sequence token.
    """
    from transformers import AutoTokenizer

    folder = Path(path)
    none = InputError("no tokenizer in this folder", where=path, remedy="save it there with tokenizer.save_pretrained")
    if folder.is_dir() and not options and not any(next(folder.glob(name), None) for name in _TOKENIZER_FILES):
        raise none
    with readable_errors(path, "a tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    # transformers makes an empty tokenizer of the model's kind where it finds no vocabulary.
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise none
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise InputError("the tokenizer has neither a pad nor an end-of-sequence token", where=path)
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    path: str, device: torch.device, dtype: torch.dtype | str, *, where: str | None = None, **options: Any
) -> PreTrainedModel:
    """Load a causal LM by folder or hub name, in evaluation mode, onto ``device`` in ``dtype`` ("auto": as stored).

    Args:
        path: folder or hub name. device: to load onto. dtype: of the weights.
        where: what an error calls it (None: ``path``). options: go to transformers (``gguf_file``).

    Raises:
        InputError: it cannot be found or read, is no causal LM, or lacks weights that its configuration asks for.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: PreTrainedModel
    with readable_errors(where or path):
        # Weights in pickled files (.bin) can run code when they are read: safetensors only. What does not fit is told
        # by its name below, where transformers would only point at a report.
        options = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True, **options}
        loaded: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **options)
    model, info = loaded
    _check_complete(model, info, where or path)
    model.to(device)  # type: ignore[arg-type]
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _check_complete(model: PreTrainedModel, info: dict[str, Any], where: str) -> None:
    """Refuse a model of which transformers drew weights at random, for want of such a tensor or of one that fits."""
    remedy = "download or copy the checkpoint again, or correct its config.json"
    if info["mismatched_keys"]:
        name, stored, wanted = min(info["mismatched_keys"])
        shapes = f"it is {tuple(stored)}, the configuration asks for {tuple(wanted)}"
        raise InputError(f"the tensor {name} has the wrong shape: {shapes}", where=where, remedy=remedy)
    missing = sorted(info["missing_keys"])
    # Buffers are no weights: they start at what the architecture sets, and older files may do without one.
    buffers = {name for name, _ in model.named_buffers()}
    if weights := [name for name in missing if name not in buffers]:
        more = f" and {len(weights) - 1:,} more" if len(weights) > 1 else ""
        raise InputError(f"the checkpoint lacks the weights {weights[0]}{more}", where=where, remedy=remedy)
    if missing:
        console.warn(
            f"{where}: the checkpoint lacks {examples(missing)}, as if it were by an older transformers; what the "
            "architecture starts from is taken"
        )


class readable_errors:
    """Turn the many ways in which transformers fails to load into one line."""

    def __init__(self, path: str, what: str = "a causal LM") -> None:
        self.path, self.what = path, what

    def __enter__(self) -> None:
        logging.getLogger("transformers").setLevel(logging.ERROR)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from safetensors import SafetensorError
        from torch import OutOfMemoryError

        if self.what == "a tokenizer" and isinstance(error, Exception):
            # tokenizers and the packages that some kinds need raise whatever they meet, a bare Exception among it
            raise self._refusal(error, "save it there with tokenizer.save_pretrained, or give a hub name") from error
        if isinstance(error, RuntimeError) and not isinstance(error, OutOfMemoryError | NotImplementedError):
            # transformers where tensors cannot be converted, torch where they cannot be copied (ZeRO-3)
            raise InputError(
                f"its weights do not fit its configuration: {first_line(error)}",
                where=self.path,
                remedy="download or copy the checkpoint again, or correct its config.json",
            ) from error
        if isinstance(error, OSError | ValueError | SafetensorError | KeyError):
            remedy = "give a Hugging Face checkpoint folder with safetensors, or a hub name (needs the network)"
            raise self._refusal(error, remedy) from error

    def _refusal(self, error: BaseException, remedy: str) -> InputError:
        return InputError(f"cannot be loaded as {self.what}: {first_line(error)}", where=self.path, remedy=remedy)
