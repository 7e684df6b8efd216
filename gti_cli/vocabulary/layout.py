"""Find out which tensors of a checkpoint have a row for each token, by building its model without weights.

The model itself says what its embedding and its output head are, whether they are tied, and which other tensors grow
with the vocabulary. Names are used only to find these tensors in the files, which may abbreviate them.
"""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.configuration import load_config
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors
from gti_cli.vocabulary.architectures.text_model import TextModel, build_empty

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Names of the same module: checkpoints of GPT-NeoX call the output head embed_out, transformers 5 calls it lm_head.
_HEAD_NAMES = ("lm_head", "embed_out")


@dataclass(frozen=True)
class Layout:
    """The tensors of a checkpoint folder that have a row for each token.

    Attributes:
        matrices: Tensors (V, d) of the input embedding and, where it is untied, of the output head.
        copies: Tensors that repeat the first matrix: a tied output head that is stored nevertheless.
        bias: Bias (V,) of the output head, if it has one.
    """

    matrices: list[TensorPlace]
    copies: list[TensorPlace]
    bias: TensorPlace | None

    @property
    def height(self) -> int:
        """Number of rows of the matrices, V."""
        return self.matrices[0].shape[0]


def find_layout(folder: Path, text: TextModel | None = None) -> Layout | None:
    """Find the tensors with a row for each token in a checkpoint.

    Args:
        folder: Folder with a configuration and safetensors.
        text: The text model in these files, where they are a multimodal wrapper's.

    Returns:
        The tensors, or None if the files name them in a way that the model does not know.

    Raises:
        InputError: When there are no safetensors or they are damaged, the model is no causal LM, or a matrix has
            another number of rows than the configuration says.
    """
    stored = read_tensors(folder)
    if text is not None:
        stored = text.rename(stored)
    model = empty_model(folder, text=text)
    names = _vocabulary_tensors(model)
    stored_names = {role: _stored_name(name, model.base_model_prefix, stored) for role, name in names.items()}
    places = {role: stored[name] for role, name in stored_names.items() if name is not None}
    tied = _tied(model)
    # A tied matrix may be stored under either of its two names; an untied model needs both.
    if ("input" not in places and not (tied and "output" in places)) or ("bias" in names and "bias" not in places):
        return None
    if not tied and "output" not in places:
        return None
    vocabulary: int = model.get_input_embeddings().weight.shape[0]  # type: ignore[assignment, index]
    for place in places.values():
        if place.shape[0] != vocabulary:
            raise InputError(
                f"tensor {place.name!r} has {place.shape[0]:,} rows, and the configuration says {vocabulary:,}",
                where=str(place.file),
                remedy="these weights and this config.json do not belong together",
            )
    return _separate_copies(places, tied)


def _separate_copies(places: dict[str, TensorPlace], tied: bool) -> Layout:
    """Tell a stored output head that repeats the embedding from one with rows of its own.

    transformers unties a model whose stored head differs from its embedding, so the numbers decide and not the
    configuration.
    """
    matrices = [places[role] for role in ("input", "output") if role in places]
    copies: list[TensorPlace] = []
    if tied and len(matrices) == 2 and _same_bytes(*matrices):
        copies = [matrices.pop()]
    return Layout(matrices, copies, places.get("bias"))


def empty_model(folder: Path, vocabulary: int | None = None, text: TextModel | None = None) -> PreTrainedModel:
    """Build a folder's model on torch's meta device, with shapes but without numbers.

    Args:
        folder: Folder with a configuration.
        vocabulary: Size of the vocabulary (None: as configured).
        text: The text model of the folder, where it is a multimodal wrapper's.

    Raises:
        InputError: When the configuration is of no causal LM that transformers knows.
    """
    with translate_loading_errors(str(folder)):
        config: Any = load_config(str(folder)) if text is None else copy.deepcopy(text.config)
    if vocabulary is not None:
        config.get_text_config().vocab_size = vocabulary
    return build_empty(config, str(folder))


def check_nothing_else_grows(folder: Path, vocabulary: int, text: TextModel | None = None) -> None:
    """Make sure that no tensors but embedding, output head and its bias depend on the size of the vocabulary.

    Args:
        folder: Folder with a configuration.
        vocabulary: A size of the vocabulary other than the configured one.
        text: The text model of the folder, where it is a multimodal wrapper's.

    Raises:
        InputError: When the architecture has further tensors that do, such as embeddings for each layer.
    """
    old, new = empty_model(folder, text=text), empty_model(folder, vocabulary, text)
    handled = set(_vocabulary_tensors(old).values())
    shapes = {name: weight.shape for name, weight in new.named_parameters(remove_duplicate=False)}
    for name, weight in old.named_parameters(remove_duplicate=False):
        if weight.shape != shapes[name] and name not in handled:
            raise InputError(
                f"this architecture ({old.config.model_type}) has a further tensor with a row for each token, {name!r}",
                where=str(folder),
                remedy="gti extends models with an embedding and a head; choose one of those",
            )


def check_nothing_is_missing(folder: Path, where: str) -> None:
    """Refuse a checkpoint that lacks weights, from the names of its tensors alone.

    Loading the model finds that, too. Files may name tensors otherwise than the model does, so a weight counts as
    missing where all names of the files are the model's, or where the files have the same weight of another layer.

    Args:
        folder: Folder with a configuration and safetensors.
        where: Name of the model, for the error line.

    Raises:
        InputError: When weights are missing; the error names the first.
    """
    stored, model = read_tensors(folder), empty_model(folder)
    handled = set(_vocabulary_tensors(model).values())  # `find_layout` has found those
    tolerated: list[str] = list(getattr(model, "_keys_to_ignore_on_load_missing", None) or [])
    names = [
        name
        for name, _ in model.named_parameters()
        if name not in handled and not any(re.search(pattern, name) for pattern in tolerated)
    ]
    found = {name: _stored_name(name, model.base_model_prefix, stored) for name in names}
    buffers = {name for name, _ in model.named_buffers()}
    known = {*found.values(), *(_stored_name(name, model.base_model_prefix, stored) for name in handled | buffers)}
    in_a_layer = {re.sub(r"\.\d+\.", ".N.", name) for name, place in found.items() if place is not None}
    all_are_known = stored.keys() <= known
    missing = [
        name
        for name, place in found.items()
        if place is None and (all_are_known or re.sub(r"\.\d+\.", ".N.", name) in in_a_layer)
    ]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(
            f"the checkpoint lacks the weights {missing[0]}{more}",
            where=where,
            remedy="download or copy the checkpoint again, or correct its config.json",
        )


def _vocabulary_tensors(model: PreTrainedModel) -> dict[str, str]:
    """Return the model's names of the ``input`` and ``output`` matrix, also if tied, and of the head's ``bias``."""
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    modules = {id(module): name for name, module in model.named_modules()}
    names = {"input": f"{modules[id(embedding)]}.weight"}
    if head is not None:
        names["output"] = f"{modules[id(head)]}.weight"
        if getattr(head, "bias", None) is not None:
            names["bias"] = f"{modules[id(head)]}.bias"
    return names


def _tied(model: PreTrainedModel) -> bool:
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head is None or head.weight is model.get_input_embeddings().weight


def _stored_name(name: str, prefix: str, stored: dict[str, TensorPlace]) -> str | None:
    """Find a tensor's name in the file: its name in the model, with or without prefix, or the head's other name."""
    candidates = [name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"]
    module, _, last = name.rpartition(".")
    if module in _HEAD_NAMES:
        candidates += [f"{head}.{last}" for head in _HEAD_NAMES]
    return next((candidate for candidate in candidates if candidate in stored), None)


def _same_bytes(first: TensorPlace, second: TensorPlace) -> bool:
    if (first.dtype, first.shape) != (second.dtype, second.shape):
        return False
    return all(a == b for a, b in itertools.zip_longest(first.raw(), second.raw()))
