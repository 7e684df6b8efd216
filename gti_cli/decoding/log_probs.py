"""Log-probabilities of a few tokens under the softmax over the whole vocabulary, without holding all logits.

The normaliser of the softmax is a sum over the whole vocabulary. It is taken block by block, and each block of logits
is small enough to be summed while it is still in a CPU's cache. Only the logits of the tokens in question, and of those
between them, are held: the codes of one level have neighbouring token ids, so this is a short range.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear

# Vocabulary entries in a block. On a CPU 1,024 was the fastest of 250 … 32,000, measured with 160 to 640 hypotheses. On
# other devices each block costs several kernel launches, so blocks are as large as memory allows.
BLOCK_ON_CPU, BLOCK_ELSEWHERE = 1 << 10, 1 << 15
_LOGITS_AT_ONCE = 1 << 22  # Logits held at a time.
_ROWS_AT_ONCE = 1024  # Hypotheses at a time.
_TINY = 1e-30  # A sum of exponentials below this has lost digits; one above its reciprocal may soon overflow.


def log_probs(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    tokens: torch.Tensor,
    block_size: int | None = None,
) -> torch.Tensor:
    """Log-probabilities of tokens after hidden states.

    Args:
        features: (R, H) hidden states.
        weight: (V, H) matrix of the output head.
        bias: (V,) bias of the output head, or None. Logits are ``linear(features, weight, bias)``, in their dtype.
        tokens: (R, n) int64 token ids.
        block_size: Vocabulary entries in a block (None: chosen by device). It changes speed, and results by rounding
            only.

    Returns:
        (R, n) float32 log-probabilities.
    """
    block_size = block_size or (BLOCK_ON_CPU if features.device.type == "cpu" else BLOCK_ELSEWHERE)
    low, high = int(tokens.min()), int(tokens.max()) + 1
    rows = max(min(_LOGITS_AT_ONCE // (high - low), _ROWS_AT_ONCE), 1)
    out = torch.empty(tokens.shape, device=features.device)
    for start in range(0, len(features), rows):
        part = slice(start, start + rows)
        out[part] = _log_probs(features[part], weight, bias, tokens[part], low, high, block_size)
    return out


def _log_probs(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    tokens: torch.Tensor,
    low: int,
    high: int,
    block_size: int,
) -> torch.Tensor:
    """`log_probs` where all ``tokens`` lie in [low, high)."""
    # (R, high - low): the only logits that are needed twice, for the numerator and in the normaliser.
    in_range = linear(features, weight[low:high], None if bias is None else bias[low:high]).float()
    numerator = in_range.gather(1, tokens - low)
    # The blocks cover [0, low) and [high, V); no block reaches into the range.
    starts = [*range(0, low, block_size), *range(high, len(weight), block_size)]
    blocks = [slice(start, min(start + block_size, low if start < low else len(weight))) for start in starts]
    total = torch.stack([in_range[:, at : at + block_size].exp().sum(1) for at in range(0, high - low, block_size)])
    total = total.sum(0)
    for block in blocks:
        total += _logits(features, weight, bias, block).exp_().sum(1)
    normaliser = total.log()
    # Without subtracting the largest logit the sum is as exact as with it, unless logits are extreme. The test is
    # written so that NaN counts as extreme too. These rows are summed again, the slow and safe way.
    extreme = ((total > _TINY) & (total < 1 / _TINY)).logical_not_().nonzero()[:, 0]
    if len(extreme):
        in_range, features = in_range[extreme], features[extreme]
        safe = torch.logsumexp(in_range, 1)
        for block in blocks:
            safe = torch.logaddexp(safe, _logits(features, weight, bias, block).logsumexp(1))
        normaliser[extreme] = safe
    return numerator - normaliser[:, None]


def _logits(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, block: slice) -> torch.Tensor:
    return linear(features, weight[block], None if bias is None else bias[block]).float()
