"""Tell causal language models from models of other kinds, and name those as what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gti_cli.checkpoints.configuration import causal_class, check_takes_cache
from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

REMEDY = "give a decoder-only language model, such as Qwen/Qwen3-0.6B"
# Parts of a configuration that only models with another input than text have.
_OTHER_INPUTS = (
    "vision_config",
    "audio_config",
    "vit_config",
    "encoder_config",
    "speech_config",
    "vision_tower_config",
)


def check_kind(config: PreTrainedConfig, where: str) -> None:
    """Refuse models that are no causal language model with a key-value cache.

    A multimodal wrapper passes: `gti_cli.vocabulary.architectures.text_model` looks for its text model. Whether a model
    that passes sees later tokens is another question, see `gti_cli.vocabulary.architectures.causality`.

    Args:
        config: The model's configuration.
        where: Name of the model, for the error line.

    Raises:
        InputError: When it is of another kind; the error says of which.
    """
    name = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name} is an encoder-decoder: it reads a prompt and writes an answer with two different parts",
            where=where,
            remedy=REMEDY,
        )
    if causal_class(config) is None and not is_wrapper(config):
        raise InputError(f"{name} is {_other_kind(name)} and no causal language model", where=where, remedy=REMEDY)
    check_takes_cache(config, where, REMEDY)


def is_wrapper(config: PreTrainedConfig) -> bool:
    """Return whether a model is a language model with parts for images, sound or video around it."""
    return config.get_text_config(decoder=True) is not config or any(hasattr(config, name) for name in _OTHER_INPUTS)


def is_masked_model(model_type: str) -> bool:
    """Return whether transformers has a masked language model of this type, such as BERT."""
    from transformers.models.auto import modeling_auto

    return model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _other_kind(model_type: str) -> str:
    """Say what a model is that transformers does not know as a causal language model."""
    from transformers.models.auto import modeling_auto

    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "an encoder-decoder"
    if is_masked_model(model_type):
        return "an encoder (a masked language model)"
    if model_type in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
        return "a speech model"
    return "a model of another kind"
