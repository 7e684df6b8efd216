"""Pretraining of the sample's tiny causal LM: corpus, tokenizer, chat template, training, saving.

The corpus is drawn from the same grammar as the catalogue, but products whose title is in the catalogue are left out.
So the model knows the words of the shop, as any LM knows the words of its world, and has seen none of the catalogue's
items, no interaction and no semantic ID.
"""

from __future__ import annotations

import json
import math
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rental_world.chat import write_chat
from rental_world.products import Product, draw_product
from rental_world.prose import write_card, write_paragraph, write_rail

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Settings:
    """Size of the model and of its training."""

    vocabulary: int = 3_072
    width: int = 192
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    feed_forward: int = 512
    context: int = 2_048
    steps: int = 800
    batch_size: int = 16
    length: int = 256
    learning_rate: float = 3e-3
    warmup: int = 60
    weight_decay: float = 0.05
    tokenizer_documents: int = 12_000
    heldout_documents: int = 400

    @property
    def tokens(self) -> int:
        """Number of tokens in training; each is read once."""
        return self.steps * self.batch_size * self.length


class Corpus:
    """An endless stream of documents, none about a product of the catalogue."""

    def __init__(self, seed: str, catalogue: frozenset[str]) -> None:
        self.rng = random.Random(seed)
        self.catalogue = catalogue

    def product(self) -> Product:
        """Draw a product that is not in the catalogue."""
        while True:
            product = draw_product(self.rng)
            if product.title not in self.catalogue:
                return product

    def document(self, kind: str) -> str:
        """Draw a document: a product card or a list of titles (``product``), a paragraph (``prose``) or a ``chat``."""
        if kind == "product":
            if self.rng.random() < 0.1:
                return write_rail(self.rng, [self.product() for _ in range(self.rng.randint(3, 6))])
            return write_card(self.rng, self.product())
        if kind == "prose":
            return write_paragraph(self.rng)
        return chat_text(write_chat(self.rng, self.product()))

    def __iter__(self) -> Iterator[str]:
        while True:
            yield self.document(self.rng.choices(("product", "prose", "chat"), (0.35, 0.2, 0.45))[0])


def chat_text(messages: list[dict[str, str]]) -> str:
    """Render a chat as the chat template does; a test compares the two."""
    return "".join(f"{TURN_START}{turn['role']}\n{turn['content']}{TURN_END}\n" for turn in messages)


def train_tokenizer(corpus: Corpus, settings: Settings) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the first documents of a corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    stream = iter(corpus)
    tokenizer.train_from_iterator((next(stream) for _ in range(settings.tokenizer_documents)), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=settings.context,
        clean_up_tokenization_spaces=False,
    )


def encode_stream(documents: Iterator[str], tokenizer: PreTrainedTokenizerFast, count: int) -> torch.Tensor:
    """Concatenate encoded documents, each with the end-of-text token behind it, up to ``count`` tokens."""
    ids: list[int] = []
    while len(ids) < count:
        batch = [next(documents) + END_OF_TEXT for _ in range(512)]
        for encoded in tokenizer(batch)["input_ids"]:
            ids += encoded
    return torch.tensor(ids[:count])


def build_model(tokenizer: PreTrainedTokenizerFast, settings: Settings, seed: str) -> Qwen3ForCausalLM:
    """Build an untrained model of the Qwen3 architecture with tied embeddings."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.feed_forward,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        head_dim=settings.width // settings.heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=True,
        initializer_range=0.03,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(seed.encode()))
        return Qwen3ForCausalLM(config)


def train(model: Qwen3ForCausalLM, tokens: torch.Tensor, settings: Settings, log: Callable[[str], None]) -> None:
    """Train for one pass over the tokens, in order, with AdamW, warm-up and cosine decay."""
    # No weight decay for the norms, which have one dimension.
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    batches = tokens.view(settings.steps, settings.batch_size, settings.length)
    model.train()
    for step, batch in enumerate(batches, start=1):
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == settings.steps:
            log(f"step {step}/{settings.steps}  loss {loss.item():.3f}")


def _rate(step: int, settings: Settings) -> float:
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2


@contextmanager
def _two_threads() -> Iterator[None]:
    """Use two threads on any machine: the number of threads changes the order of sums, and with it the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def perplexity(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: list[str], batch_size: int = 32
) -> float:
    """Compute the perplexity per token over whole documents, each read separately."""
    model.train(False)
    total, count = 0.0, 0
    for start in range(0, len(documents), batch_size):
        batch = [text + END_OF_TEXT for text in documents[start : start + batch_size]]
        encoded = tokenizer(batch, padding=True, padding_side="right", return_tensors="pt")
        labels = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, -100)
        loss = model(**encoded, labels=labels, use_cache=False).loss
        scored = int((labels[:, 1:] != -100).sum())
        total, count = total + loss.item() * scored, count + scored
    return math.exp(total / max(count, 1))


def heldout_perplexity(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: str, catalogue: list[Product], settings: Settings
) -> dict[str, float]:
    """Compute perplexity on held-out documents of each kind, and on the catalogue's own texts."""
    heldout = Corpus(f"{seed}/heldout", frozenset(product.title for product in catalogue))
    texts = {
        kind: [heldout.document(kind) for _ in range(settings.heldout_documents)]
        for kind in ("product", "prose", "chat")
    }
    texts["catalogue"] = [f"{product.title}. {product.description}" for product in catalogue]
    return {kind: round(perplexity(model, tokenizer, documents), 2) for kind, documents in texts.items()}


def save(folder: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, record: dict[str, Any]) -> None:
    """Save in half precision, with the tokenizer and the record of the training."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    _portable_names(folder / "tokenizer_config.json")
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _portable_names(path: Path) -> None:
    """Replace the tokenizer class that transformers 5 writes by the name that older releases know, too."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_lm(
    folder: Path,
    seed: str,
    catalogue: list[Product],
    settings: Settings | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Draw the corpus, train tokenizer and model, and save both.

    Args:
        folder: Folder of the model.
        seed: Seed of the corpus and of the weights.
        catalogue: Products that the corpus leaves out.
        settings: Sizes; None for the defaults.
        log: Gets a line about each stage.

    Returns:
        The content of `training.json`.
    """
    settings = settings or Settings()
    titles = frozenset(product.title for product in catalogue)
    tokenizer = train_tokenizer(Corpus(f"{seed}/tokenizer", titles), settings)
    tokens = encode_stream(iter(Corpus(f"{seed}/corpus", titles)), tokenizer, settings.tokens)
    model = build_model(tokenizer, settings, seed)
    log(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens in the vocabulary, {len(tokens):,} to read")
    with _two_threads():
        train(model, tokens, settings, log)
    record = {
        "text": "synthetic, drawn from sample_data/rental_world; no product of the catalogue, no interaction, no code",
        "parameters": model.num_parameters(),
        "settings": asdict(settings),
        "training_tokens": settings.tokens,
        "heldout_perplexity": heldout_perplexity(model, tokenizer, seed, catalogue, settings),
    }
    save(folder, model, tokenizer, record)
    return record
