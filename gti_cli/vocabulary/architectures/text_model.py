"""Take the text model out of a multimodal wrapper: a language model with parts for images, sound or video around it.

The files of a wrapper hold the tensors of its text model under a prefix. Where the text model is a causal language
model that transformers knows, and all of its tensors are there with the right shapes, they are a checkpoint of their
own. For input without images the text model computes what the wrapper computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli.checkpoints.configuration import causal_class
from gti_cli.checkpoints.loading import translate_loading_errors
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Text models that have no causal language model class of their own, and the architecture that computes the same. They
# differ in the positions of images only: the three coordinates of a word are equal, and so are rotary positions.
_SAME_AS = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
# Files of a wrapper that say how its other inputs are prepared.
PROCESSOR_FILES = {"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"}


@dataclass(frozen=True)
class TextModel:
    """The text model in the files of a wrapper.

    Attributes:
        config: Configuration of the text model alone.
        names: For each of its tensors, by its name in the files, its name in a checkpoint of its own.
        left_out: Number of tensors of the wrapper's other parts.
    """

    config: PreTrainedConfig
    names: Mapping[str, str]
    left_out: int

    def rename(self, stored: Mapping[str, TensorPlace]) -> dict[str, TensorPlace]:
        """Return the places of the text model's tensors by their new names."""
        return {
            self.names[old]: replace(place, name=self.names[old]) for old, place in stored.items() if old in self.names
        }


def find_text_model(folder: Path, wrapper: PreTrainedConfig) -> TextModel | None:
    """Find the text model in a wrapper's folder.

    Args:
        folder: Folder with the wrapper's safetensors.
        wrapper: Its configuration.

    Returns:
        The text model, or None where transformers has no causal language model for it or the files hold another one.

    Raises:
        InputError: When the files cannot be read.
    """
    config = text_config(wrapper)
    if config is None:
        return None
    model = build_empty(config, str(folder))
    stored = read_tensors(folder)
    names = _match(model, stored)
    if names is None:
        return None
    text: Any = wrapper.get_text_config(decoder=True)
    # Wrappers say outside of their text model, within it, or at both places whether its matrices are tied.
    config.tie_word_embeddings = any(bool(getattr(part, "tie_word_embeddings", False)) for part in (wrapper, text))
    if not config.tie_word_embeddings and _head_name(model) not in names.values():
        return None
    config.dtype = text.dtype or wrapper.dtype
    config.architectures = [type(model).__name__]
    return TextModel(config, names, len(stored) - len(names))


def build_empty(config: Any, where: str) -> PreTrainedModel:
    """Build a causal language model on torch's meta device, with shapes but without numbers.

    Args:
        config: Its configuration.
        where: Its name, for the error line.

    Raises:
        InputError: When the configuration is of no causal language model that transformers knows.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with translate_loading_errors(where), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return model


def text_config(wrapper: PreTrainedConfig) -> PreTrainedConfig | None:
    """Return the configuration of the text model as a causal language model's; None where transformers has none."""
    from transformers import AutoConfig

    text: Any = wrapper.get_text_config(decoder=True)
    if text is wrapper:
        return None
    fields = text.to_dict()
    kind = _SAME_AS.get(text.model_type)
    if kind is not None:
        fields.pop("model_type")
        rope = fields.get("rope_parameters")
        if isinstance(rope, dict):
            # How the coordinates of an image share the rotary positions.
            fields["rope_parameters"] = {
                name: value
                for name, value in rope.items()
                if name not in ("mrope_section", "mrope_interleaved", "type")
            }
    own: PreTrainedConfig = AutoConfig.for_model(kind, **fields) if kind else type(text).from_dict(fields)
    model_class = causal_class(own)
    # transformers lists some wrappers as causal language models; a text model's class is made from its configuration.
    return own if model_class is not None and model_class.config_class is type(own) else None


def _match(model: PreTrainedModel, stored: Mapping[str, TensorPlace]) -> dict[str, str] | None:
    """Find each tensor of a text model in a wrapper's files.

    Returns:
        The new name of each tensor that is taken, by its name in the files; None where one is missing or has another
        shape.
    """
    head, base = _head_name(model), f"{model.base_model_prefix}."
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items() if name != head}
    embedding: Any = model.get_input_embeddings()
    modules = {id(module): name for name, module in model.named_modules()}
    anchor = f"{modules[id(embedding)]}.weight".removeprefix(base)
    # The prefix before the text model's layers is what stands before its embedding. Towers for images have layers of
    # the same names, but not all of the text model's tensors with their shapes.
    for found in stored:
        if not f".{found}".endswith(f".{anchor}"):
            continue
        prefix = found.removesuffix(anchor)
        names = {prefix + name.removeprefix(base): name for name in expected}
        if all(old in stored and stored[old].shape == expected[new] for old, new in names.items()):
            shape = tuple(embedding.weight.shape)
            heads = [name for name, place in stored.items() if f".{name}".endswith(f".{head}") and place.shape == shape]
            return {**names, **({heads[0]: head} if len(heads) == 1 else {})}
    return None


def _head_name(model: PreTrainedModel) -> str:
    """Return the name of the output head's matrix in the model."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return next(f"{name}.weight" for name, module in model.named_modules() if module is head)
