"""Measure what new rows do to ordinary text: the probability that they take from the old tokens.

The logits of old tokens do not change when rows are added. So at each position the probabilities of all old tokens
shrink by the factor 1 - s, where s is the new tokens' share of the softmax, and the divergence from the base model has
a closed form: KL(base || extended) = -log(1 - s). Rows far from all pretrained rows can make s large at every position,
and the model then writes almost nothing but new tokens (Hewitt 2021, "Initializing new word embeddings for pretrained
language models").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gti_cli import console
from gti_cli.checkpoints.limits import count_used_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Several kinds of ordinary text, written for this measurement: story, explanation, notice, dialogue, list, question.
ORDINARY_TEXT = (
    "The old man pushed the boat into the water before the sun was up. He had mended the net the evening before, and "
    "his daughter had packed bread and two apples for him.",
    "Iron rusts because it reacts with oxygen when water is present. Paint keeps the water away; zinc gives itself up "
    "first, so that the iron below it stays whole for many years.",
    "Please note that the library will be closed on Monday. Books that are due on that day may be returned until "
    "Wednesday without a fee.",
    "Have you seen my keys? They were on the kitchen table this morning, next to the letters. - Look in your coat, "
    "that is where they always are.",
    "To make the soup you need four carrots, one onion, a little butter, salt and pepper. Cut everything into small "
    "pieces and let it cook for twenty minutes.",
    "In 1969 people walked on the moon for the first time. Which country did they come from, and how long did the "
    "journey take?",
)
_MOST_SHARE = 0.05  # share of the probability above which a warning is due


@dataclass(frozen=True)
class TextEffect:
    """The effect of new rows on ordinary text, as means over its positions.

    Attributes:
        share: Share of the probability that the new tokens take.
        divergence: KL(base || extended) in nats.
    """

    share: float
    divergence: float

    def metrics(self) -> dict[str, float]:
        """Return the figures for the manifest."""
        return {"new_tokens_share": self.share, "kl_to_base": self.divergence}

    def warn_if_large(self, init: str) -> None:
        """Warn if the new tokens take so much probability that ordinary text suffers.

        Args:
            init: The initializer of the new rows.
        """
        if self.share > _MOST_SHARE:
            console.warn(
                f"with --init {init} the new tokens take {self.share:.1%} of the probability on ordinary text before "
                f"any training (KL to the base model {self.divergence:.3f} nats): use --init mean or a smaller "
                "--distance (text and codebook starts), or ground the model before you use it"
            )


@torch.no_grad()
def measure_text_effect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: torch.Tensor,
    texts: tuple[str, ...] = ORDINARY_TEXT,
) -> TextEffect:
    """Measure how much probability the new tokens take on texts.

    The softmax is over the tokenizer's vocabulary: unused rows of a padded matrix do not count.

    Args:
        model: The extended model.
        tokenizer: The extended tokenizer.
        ids: (n,) int64 ids of the new tokens.
        texts: Ordinary texts.
    """
    shares, divergences = [], []
    for text in texts:
        input_ids = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
        logits = model(input_ids=input_ids).logits[0, :, : count_used_rows(tokenizer)].double()
        log_total = logits.logsumexp(-1)
        old_logits = logits.index_fill(-1, ids.to(logits.device), -torch.inf)
        log_old_share = old_logits.logsumexp(-1) - log_total  # log(1 - s)
        divergences.append(-log_old_share)
        shares.append(-torch.expm1(log_old_share))
    return TextEffect(float(torch.cat(shares).mean()), float(torch.cat(divergences).mean()))
