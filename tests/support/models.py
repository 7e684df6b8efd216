"""Tiny tokenizers and models that the tests build themselves."""

from __future__ import annotations

from typing import Any

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
