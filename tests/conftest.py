"""Tiny tokenizers and models that the tests build themselves: no hub, no files of another project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Parallel test workers with many threads each stall one another; this must be set before torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import settings

# Machines that run the suite are shared and slow at times: an example that takes long is no defect.
settings.register_profile("gti", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gti")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-benchmarks", action="store_true", help="run tests/benchmarks (ratios against named peers)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Timing has no place in the suite: benchmarks run when asked for."""
    if config.getoption("--run-benchmarks"):
        return
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.skip(reason="a benchmark: pass --run-benchmarks"))


@pytest.fixture(autouse=True)
def saved_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run leaves behind when it is broken off must not depend on how fast the machine is."""
    monkeypatch.setattr("gti_cli.training.saving.SHARE", float("inf"))


SENTENCES = [
    "The red evening dress is made of silk and falls to the floor.",
    "A blue denim jacket with brass buttons, worn in spring and autumn.",
    "Which category does the grey wool coat belong to? Coats.",
    "Leather ankle boots with a block heel; easy to walk in.",
    "What goes with a linen summer shirt? Light cotton trousers.",
    "Tell me the title of this item. A striped knitted jumper, size M.",
    "She rents a green party dress for the weekend and returns it on Monday.",
    "0 1 2 3 4 5 6 7 8 9 10 20 50 100",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(vocab_size: int = 384, chat: bool = True) -> Any:
    """A byte-level BPE tokenizer trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


# What architectures call otherwise, or what keeps them small.
EXTRA: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "gemma2": {"sliding_window": 64, "final_logit_softcapping": 5.0},
    "gemma3_text": {"sliding_window": 64},
}


def make_model(
    kind: str = "qwen3",
    vocab_size: int = 384,
    *,
    tied: bool = True,
    seed: int = 0,
    width: int = 32,
    biased: bool = False,
    **more: Any,
) -> Any:
    """A random two-layer model of architecture ``kind``; weights wide enough that logits differ clearly.

    ``biased``: biases are random too, and not zero as a fresh model has them. ``more`` fields of its configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    common = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **EXTRA.get(kind, {}),
        **more,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **common)).float().eval()
    for name, weight in model.named_parameters():
        if biased and name.endswith("bias"):
            torch.nn.init.normal_(weight, 0, 0.2)
    return model


@pytest.fixture(autouse=True)
def _console_as_it_starts() -> Any:
    """What one test's command line set (``-q``, ``--json``) must not silence the next test."""
    from gti_cli import console

    console.configure()
    yield
    console.configure()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tiny chat tokenizer (do not change it; `make_tokenizer` gives a fresh one)."""
    return make_tokenizer()


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny pretrained checkpoint and return its folder: ``make_checkpoint("llama", tied=False)``."""

    def make(kind: str = "qwen3", *, tied: bool = True, chat: bool = True, seed: int = 0, name: str = "base") -> Path:
        folder = tmp_path / name
        tokenizer = make_tokenizer(chat=chat)
        make_model(kind, len(tokenizer), tied=tied, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
