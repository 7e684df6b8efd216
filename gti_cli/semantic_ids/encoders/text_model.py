"""Encode texts with a sentence-transformers or Hugging Face model: sorted by length, batched by tokens, resumable."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.hub import waiting_for_hub
from gti_cli.errors import InputError, first_line
from gti_cli.semantic_ids.encoders.encoding_store import InMemory, OnDisk, Store
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.tensors.vector_file import VectorRows
from gti_cli.workspace import processes
from gti_cli.workspace.manifest import canonical_digest

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

_POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


class TextModel:
    """A text encoder.

    Args:
        name: a sentence-transformers model or a plain Hugging Face encoder, on the hub or a folder. A
            sentence-transformers model brings its own pooling and prompt (Qwen3-Embedding, say, pools the last token);
            a plain one is pooled by the mean, unless ``options`` say otherwise.
        options: see `EncoderOptions`. device, dtype: where and in what it runs.

    Raises:
        InputError: the package is missing, or the model cannot be loaded.
    """

    def __init__(
        self, name: str, options: EncoderOptions, device: torch.device | None, dtype: torch.dtype | None
    ) -> None:
        self.name, self.options = name, options
        self._model = _load(name, options, device, dtype)
        if options.max_tokens:
            self._model.max_seq_length = options.max_tokens

    @property
    def limit(self) -> int:
        """Tokens that the model reads of a text; the rest is cut."""
        return int(self._model.get_max_seq_length() or 1 << 30)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones and the prompt included, before anything is cut."""
        prompt = self.options.prompt or self._model.prompts.get(self._model.default_prompt_name or "") or ""
        found: list[int] = []
        for start in range(0, len(texts), 4096):
            part = [prompt + text for text in texts[start : start + 4096]]
            found += [len(ids) for ids in self._model.tokenizer(part, truncation=False, verbose=False)["input_ids"]]
        return found

    def encode(self, texts: list[str]) -> Vectors:
        """One batch: (n, d) float32, rows of length 1."""
        found = self._model.encode(
            texts,
            batch_size=len(texts),
            prompt=self.options.prompt,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(found, dtype=np.float32)


def encode_texts(model: TextModel, texts: Sequence[str], scratch: Path | None) -> tuple[VectorRows, dict[str, int]]:
    """Encode all texts.

    Args:
        model: the encoder. texts: N of them.
        scratch: with it, vectors go to a file there as they come, so that memory holds a batch only, and an interrupted
            run goes on behind the last batches written. Processes of one launch that are given the same folder take
            every n-th batch each; the first one returns when all have done theirs.

    Returns:
        (N, d) float32 (a `VectorFile` with ``scratch``), and the counts: ``texts_cut`` at the model's limit.
    """
    lengths, limit = model.lengths(texts), model.limit
    batches = list(token_batches([min(length, limit) for length in lengths], model.options.batch_tokens))
    store: Store = InMemory() if scratch is None else OnDisk(scratch, canonical_digest([list(texts), batches]))
    store.open(len(texts), len(batches))
    mine = range(len(batches)) if scratch is None else range(processes.rank(), len(batches), processes.world())
    with console.progress(f"Encoding with {model.name}", len(texts), "texts") as advance:
        advance(sum(len(rows) for index, rows in enumerate(batches) if store.has(index)))
        for index in mine:
            rows = batches[index]
            if store.has(index):
                continue
            found = model.encode([texts[row] for row in rows])
            if not np.isfinite(found).all():
                raise InputError("the encoder returned NaN or infinity", where=model.name, remedy="use --dtype float32")
            store.put(index, rows, found)
            advance(len(rows))
        store.finish()
    cut = sum(length > limit for length in lengths)
    if cut:
        console.note(f"{cut:,} of {len(texts):,} texts were longer than the {limit:,} tokens that {model.name} reads")
    return store.vectors(), {"texts_cut": cut}


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows in batches of like length, the longest first: padded, a batch has at most ``budget`` tokens.

    Sorted, so that little is padded; the longest first, so that a lack of memory shows at once. A text longer than the
    budget is a batch of its own.
    """
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and longest * (len(batch) + 1) > budget:
            yield batch
            batch = []
        if not batch:
            longest = lengths[row]
        batch.append(row)
    if batch:
        yield batch


def _load(name: str, options: EncoderOptions, device: torch.device | None, dtype: torch.dtype | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as cause:
        raise InputError(
            f"--encoder {name} needs the package sentence-transformers",
            remedy="pip install 'gti-cli[encoders]', or use --encoder lsa",
        ) from cause
    from transformers.utils import logging as hf_logging

    logging.getLogger("transformers").setLevel(logging.ERROR)  # texts over the limit are counted, not warned of
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with waiting_for_hub(name):
            model: Any = SentenceTransformer(
                name,
                device=str(device) if device is not None else None,
                model_kwargs={"torch_dtype": dtype} if dtype is not None else None,
            )
    except Exception as cause:  # the library raises whatever its many loaders raise
        raise InputError(
            f"cannot be loaded as a text encoder: {first_line(cause)}",
            where=name,
            remedy="give lsa, column, a folder with a sentence-transformers model, or a hub name (needs the network)",
        ) from cause
    if options.pooling != "auto":
        transformer = model[0]
        model = SentenceTransformer(
            modules=[transformer, _pooling(transformer, _POOLING[options.pooling])],
            device=str(model.device),
            prompts=model.prompts,
            default_prompt_name=model.default_prompt_name,
        )
    return model


def _pooling(transformer: Any, mode: str) -> Any:
    """A pooling module behind ``transformer``; the package moved and renamed both in its version 5."""
    from importlib import import_module

    try:
        modules = import_module("sentence_transformers.sentence_transformer.modules")
    except ImportError:
        modules = import_module("sentence_transformers.models")
    width = getattr(transformer, "get_embedding_dimension", None) or transformer.get_word_embedding_dimension
    return modules.Pooling(width(), mode)
