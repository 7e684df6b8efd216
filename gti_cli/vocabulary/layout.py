"""Which tensors of a checkpoint are matrices over the vocabulary, by building its model without weights.

The architecture says what its embedding and its head are, whether they are tied, and what else grows with the
vocabulary; so nothing is guessed from names, except how a file abbreviates them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Old and new names of the same module: checkpoints of GPT-NeoX call the head embed_out, transformers 5 lm_head.
_HEADS = ("lm_head", "embed_out")


@dataclass(frozen=True)
class Layout:
    """The tensors over the vocabulary in a checkpoint folder.

    Attributes:
        matrices: the (V, d) tensors that hold rows of their own: input embedding, and output head where untied.
        copies: tensors that hold the rows of the first matrix again (a tied head that is stored all the same).
        bias: of the head (V,), if it has one.
    """

    matrices: list[TensorPlace]
    copies: list[TensorPlace]
    bias: TensorPlace | None

    @property
    def height(self) -> int:
        """V, rows of the matrices."""
        return self.matrices[0].shape[0]


def find_layout(folder: Path) -> Layout | None:
    """Read the layout of a checkpoint; None where its files name tensors otherwise than its model does.

    Raises:
        InputError: no safetensors, a damaged file, no causal LM, a matrix whose height is not the configuration's.
    """
    stored = read_tensors(folder)
    model = empty_model(folder)
    names = _over_vocabulary(model)
    found = {role: _stored_name(name, model.base_model_prefix, stored) for role, name in names.items()}
    places = {role: stored[name] for role, name in found.items() if name is not None}
    tied = _tied(model)
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
    return _sorted_out(places, tied)


def _sorted_out(places: dict[str, TensorPlace], tied: bool) -> Layout:
    """Tied or not as transformers loads it: a head that is stored though the model ties it counts if it differs."""
    matrices = [places[role] for role in ("input", "output") if role in places]
    copies: list[TensorPlace] = []
    if tied and len(matrices) == 2 and _same_bytes(*matrices):
        copies = [matrices.pop()]
    return Layout(matrices, copies, places.get("bias"))


def empty_model(folder: Path, vocabulary: int | None = None) -> PreTrainedModel:
    """The folder's model on torch's meta device (shapes, no numbers), with ``vocabulary`` rows if given.

    Raises:
        InputError: no causal LM that transformers knows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from gti_cli.checkpoints.loading import translate_loading_errors

    with translate_loading_errors(str(folder)):
        config: Any = AutoConfig.from_pretrained(folder)
        if vocabulary is not None:
            config.get_text_config().vocab_size = vocabulary
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return model


def check_nothing_else_grows(folder: Path, vocabulary: int) -> None:
    """Make sure that only embedding, head and bias depend on the size of the vocabulary.

    Raises:
        InputError: the architecture has further tensors over the vocabulary (per-layer embeddings, say).
    """
    old, new = empty_model(folder), empty_model(folder, vocabulary)
    known = set(_over_vocabulary(old).values())
    shapes = {name: weight.shape for name, weight in new.named_parameters(remove_duplicate=False)}
    for name, weight in old.named_parameters(remove_duplicate=False):
        if weight.shape != shapes[name] and name not in known:
            raise InputError(
                f"this architecture ({old.config.model_type}) has another tensor over its vocabulary, {name!r}",
                where=str(folder),
                remedy="gti extends models with an embedding and a head; choose one of those",
            )


def _over_vocabulary(model: PreTrainedModel) -> dict[str, str]:
    """Names in the model: ``input``, ``output`` (both also where they are tied), ``bias``."""
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
    """``name`` as the file has it: the same, without or with the model's prefix, under a head's other name."""
    candidates = [name, name.removeprefix(f"{prefix}."), f"{prefix}.{name}"]
    module, _, last = name.rpartition(".")
    if module in _HEADS:
        candidates += [f"{other}.{last}" for other in _HEADS]
    return next((candidate for candidate in candidates if candidate in stored), None)


def _same_bytes(one: TensorPlace, other: TensorPlace) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(a == b for a, b in itertools.zip_longest(one.raw(), other.raw()))
