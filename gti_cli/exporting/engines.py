"""The serving engines that `gti export catalog` writes for, and which models they restrict to a catalogue.

Each format was taken from its engine's public sources: FlashRec 0.1.2; sid-gr-inference in NVIDIA's recsys-examples
(July 2026); xLLM (August 2026); STATIC (March 2026).
"""

from __future__ import annotations

from gti_cli.errors import InputError

FLASHREC, NVIDIA, XLLM, STATIC = ENGINES = ("flashrec", "nvidia", "xllm", "static")
TITLES = {FLASHREC: "FlashRec", NVIDIA: "NVIDIA sid-gr-inference", XLLM: "xLLM", STATIC: "STATIC"}
QWEN3, ONEREC = "qwen3", "onerec"  # types of models, as ``config.json`` names them
_SERVES = {FLASHREC: QWEN3, NVIDIA: QWEN3, XLLM: ONEREC}  # STATIC is no server: it masks the logits of any model


def check_engine(engine: str | None) -> None:
    """Refuse an unknown engine.

    Raises:
        InputError: When there is no such engine.
    """
    if engine is not None and engine not in ENGINES:
        raise InputError(f"--engine {engine!r} is not known", remedy=f"use {', '.join(ENGINES)}")


def check_model(engine: str | None, kind: str | None, where: str) -> None:
    """Refuse a model that the engine does not serve with a catalogue.

    Args:
        engine: One of `ENGINES`; None: no engine's demands are checked.
        kind: The type of the model; None: it is not known.
        where: The checkpoint, for the error line.

    Raises:
        InputError: When the engine serves models of another type alone.
    """
    if engine is None or kind in (_SERVES.get(engine), None) or engine not in _SERVES:
        return
    raise InputError(
        f"{TITLES[engine]} restricts models of the type {_SERVES[engine]!r} alone to a catalogue, and this one is "
        f"{kind!r}",
        where=where,
        remedy="leave CKPT out to write the codes for a model of that type"
        if engine == XLLM
        else "serve it with 'gti serve', or fine-tune a dense Qwen3 model",
    )
