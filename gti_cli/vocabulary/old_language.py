"""What new rows do to the old language: the probability that they take from ordinary words.

Old logits do not change when rows are added, so an old word's probability shrinks by the same factor 1 - s at every
position, s being the new tokens' share of the softmax there, and the divergence from the base model has a closed form:
KL(base || extended) = -log(1 - s). Rows far from all pretrained ones can make s large at every position and so swallow
the language (Hewitt 2021, "Initializing new word embeddings for pretrained language models").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gti_cli import console
from gti_cli.checkpoints.limits import count_used_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Ordinary language of several kinds, written for this purpose: a story, an explanation, a notice, talk, a list.
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
_LOUD = 0.05  # share of the probability from which on a warning is due


@dataclass(frozen=True)
class Effect:
    """Means over the positions of a text.

    Attributes:
        share: of the probability that the new tokens take. divergence: KL(base || extended) in nats.
    """

    share: float
    divergence: float

    def metrics(self) -> dict[str, float]:
        """For the manifest."""
        return {"new_tokens_share": self.share, "kl_to_base": self.divergence}

    def say(self, init: str) -> None:
        """Warn, with the remedy, where the new tokens are so probable that ordinary text suffers."""
        if self.share > _LOUD:
            console.warn(
                f"the new tokens take {self.share:.1%} of the probability on ordinary text (KL to the base model "
                f"{self.divergence:.3f} nats) before anything was trained; --init {init} put their rows where they "
                "drown old words: start from mean, which is bound to stay quiet, place rows nearer to it (--distance, "
                "for text and codebook), or ground before you use the model"
            )


@torch.no_grad()
def effect(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: torch.Tensor,
    texts: tuple[str, ...] = ORDINARY_TEXT,
) -> Effect:
    """Measure the new tokens ``ids`` (n,) on ``texts``.

    The softmax is over the tokenizer's vocabulary; rows that a padded matrix still holds in reserve do not count.
    """
    shares, divergences = [], []
    for text in texts:
        words = tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
        logits = model(input_ids=words).logits[0, :, : count_used_rows(tokenizer)].double()
        all_mass = logits.logsumexp(-1)
        old = logits.index_fill(-1, ids.to(logits.device), -torch.inf)
        kept = old.logsumexp(-1) - all_mass  # log(1 - s)
        divergences.append(-kept)
        shares.append(-torch.expm1(kept))
    return Effect(float(torch.cat(shares).mean()), float(torch.cat(divergences).mean()))
