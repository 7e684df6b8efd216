"""From a system and a user message to token ids, with the model's own chat template where it has one.

A prompt ends where the assistant's answer begins; an answer ends with the token that ends a turn. They are tokenised
apart, so that a prompt has the same ids at training and at inference, whatever the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For base models without a chat template: bare words, nothing that would need special tokens.
_PLAIN = "{system}\n\nUser: {user}\nAssistant: "


def render_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> str:
    """The prompt as text, up to and including the mark that opens the assistant's answer."""
    if tokenizer.chat_template is None:
        return _PLAIN.format(system=system, user=user).lstrip()
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": user})
    # enable_thinking: Qwen3's template opens a thinking block otherwise; other templates ignore it.
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    return str(text)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str) -> list[int]:
    """Token ids of the prompt (see `render_prompt`)."""
    text = render_prompt(tokenizer, system, user)
    # A chat template writes its own opening token; a plain prompt needs the tokenizer's.
    return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str, end: bool = True) -> list[int]:
    """Token ids of the assistant's answer, with the end-of-turn token behind it."""
    ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    return [*ids, end_of_turn(tokenizer)] if end else ids


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer: ``<|im_end|>`` where the tokenizer has it, else its end-of-sequence token."""
    im_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    if isinstance(im_end, int) and im_end != tokenizer.unk_token_id and im_end >= 0:
        return im_end
    return int(tokenizer.eos_token_id)
