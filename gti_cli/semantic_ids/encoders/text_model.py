"""Encode texts with a sentence-transformers or Hugging Face model, in batches of similar length, resumable."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.checkpoints.hub import split_revision, waiting_for_hub
from gti_cli.errors import InputError, first_line
from gti_cli.prompts.text_as_data import data_encoder, note_naming
from gti_cli.semantic_ids.encoders.encoding_store import InMemory, OnDisk, Store
from gti_cli.semantic_ids.options import EncoderOptions
from gti_cli.tensors.vector_file import VectorRows
from gti_cli.workspace import processes
from gti_cli.workspace.manifest import canonical_digest

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]

CPU_BATCH, GPU_BATCH = 1 << 11, 1 << 14  # Tokens, padding included.
# Our names of the pooling modes, and those of sentence-transformers.
_POOLING = {"mean": "mean", "cls": "cls", "last": "lasttoken"}


class TextModel:
    """A text encoder.

    Args:
        name: A sentence-transformers model or a plain Hugging Face encoder, by its name on the hub (perhaps with a
            revision, ``OWNER/NAME@REVISION``) or a folder. A
            sentence-transformers model has its own pooling and prompt (Qwen3-Embedding, for example, pools the last
            token); a plain encoder is pooled by the mean. ``options`` override both.
        options: See `EncoderOptions`.
        device: Where the model runs; None: the library's choice.
        dtype: Number format of the weights; None: the library's choice.

    Raises:
        InputError: When the package is missing, or the model cannot be loaded.
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
        """The number of tokens after which a text is cut."""
        return int(self._model.get_max_seq_length() or 1 << 30)

    @property
    def batch_tokens(self) -> int:
        """The most tokens in a batch: as given, else by the device.

        A processor works best on batches whose activations stay in its caches (1,024 to 4,096 tokens were a quarter
        faster than 16,384); a GPU needs larger ones to be busy.
        """
        by_device = CPU_BATCH if self._model.device.type == "cpu" else GPU_BATCH
        return self.options.batch_tokens or by_device

    def measure(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Count the tokens of texts.

        Returns:
            The number of tokens of each text, special tokens and the prompt included, before anything is cut; and the
            places of the texts that hold the name of a special token, which the model would read as that token.
        """
        prompt = self.options.prompt or self._model.prompts.get(self._model.default_prompt_name or "") or ""
        tokenizer = partial(self._model.tokenizer, truncation=False, verbose=False)
        encoder = data_encoder(self._model.tokenizer)
        of_every_text = encoder.count(tokenizer(prompt + "x")["input_ids"])
        lengths: list[int] = []
        naming: list[int] = []
        for start in range(0, len(texts), 4096):
            part = tokenizer([prompt + text for text in texts[start : start + 4096]])["input_ids"]
            lengths += map(len, part)
            naming += (start + n for n, ids in enumerate(part) if encoder.count(ids) != of_every_text)
        return lengths, naming

    def as_data(self, text: str) -> str:
        """Put a space into each name of a special token in a text, so that the model reads it as text."""
        return " ".join(data_encoder(self._model.tokenizer).pieces(text))

    def encode(self, texts: list[str]) -> Vectors:
        """Encode one batch: (n, d) float32, rows of length 1."""
        vectors = self._model.encode(
            texts,
            batch_size=len(texts),
            prompt=self.options.prompt,
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)


def encode_texts(model: TextModel, texts: Sequence[str], scratch: Path | None) -> tuple[VectorRows, dict[str, int]]:
    """Encode all texts.

    Args:
        model: The encoder.
        texts: N texts.
        scratch: Folder for a file to which the vectors are written batch by batch, so that memory holds one batch and
            an interrupted run resumes. The processes of a launch that are given the same folder share the work; the
            first one returns when all have finished. None: keep the vectors in memory, encode in this process alone.

    Returns:
        The vectors (N, d) float32 (a `VectorFile` with ``scratch``), and counts: ``texts_cut``, how many texts were
        cut at the model's limit, and ``texts_naming_tokens``, how many hold the name of a special token.

    Raises:
        InputError: When the model returns NaN or infinity.
    """
    lengths, naming = model.measure(texts)
    if naming:
        note_naming(len(naming), len(texts))
        texts = list(texts)
        for row in naming:
            texts[row] = model.as_data(texts[row])
        lengths, _ = model.measure(texts)
    limit = model.limit
    batches = list(token_batches([min(length, limit) for length in lengths], model.batch_tokens))
    store: Store = InMemory() if scratch is None else OnDisk(scratch, canonical_digest([list(texts), batches]))
    store.open(len(texts), len(batches))
    # Batches are sorted by length, so every n-th batch gives each of n processes about the same work.
    own_batches = range(len(batches)) if scratch is None else range(processes.rank(), len(batches), processes.world())
    with console.progress(f"Encoding with {model.name}", len(texts), "texts") as advance:
        advance(sum(len(rows) for index, rows in enumerate(batches) if store.has(index)))
        for index in own_batches:
            rows = batches[index]
            if store.has(index):
                continue
            vectors = model.encode([texts[row] for row in rows])
            if not np.isfinite(vectors).all():
                raise InputError("the encoder returned NaN or infinity", where=model.name, remedy="use --dtype float32")
            store.put(index, rows, vectors)
            advance(len(rows))
        store.finish()
    cut = sum(length > limit for length in lengths)
    if cut:
        console.note(f"{cut:,} of {len(texts):,} texts were longer than the {limit:,} tokens that {model.name} reads")
    return store.vectors(), {"texts_cut": cut, "texts_naming_tokens": len(naming)}


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Put texts of similar length into batches of at most ``budget`` tokens, padding included.

    Sorting keeps the padding small. The longest texts come first, so that a lack of memory shows at once.

    Args:
        lengths: The number of tokens of each text.
        budget: The most tokens of a padded batch. A longer text is a batch of its own.

    Yields:
        Row numbers of the texts of a batch, the longest first.
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
            remedy="pip install sentence-transformers, or use --encoder lsa",
        ) from cause
    from transformers.utils import logging as hf_logging

    # Texts over the limit are counted (`texts_cut`), so the library's warnings about them would only repeat that.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model_name, revision = (name, None) if Path(name).exists() else split_revision(name)
    try:
        with waiting_for_hub(name):
            model: Any = SentenceTransformer(
                model_name,
                revision=revision,
                device=str(device) if device is not None else None,
                model_kwargs={"torch_dtype": dtype} if dtype is not None else None,
            )
    except Exception as cause:  # The library passes on any exception of its many loaders.
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
    """A pooling module for the output of ``transformer``; module path and method differ by version of the library."""
    from importlib import import_module

    try:
        modules = import_module("sentence_transformers.sentence_transformer.modules")
    except ImportError:
        modules = import_module("sentence_transformers.models")
    width = getattr(transformer, "get_embedding_dimension", None) or transformer.get_word_embedding_dimension
    return modules.Pooling(width(), mode)
