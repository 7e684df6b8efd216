"""Titles and captions of the pictures of a diagnosis, for every page that shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

ALIKE = 0.9  # cosine from which two pretrained rows make a bright spot in the picture
_NAMED = 5  # tokens that a caption names

# By the picture's file name: its title, and what the eye asks when it sees it.
CAPTIONS = {
    "spectrum": (
        "Singular values",
        "Left: the singular values of the new rows of each checkpoint, and in grey those of as many pretrained rows. A "
        "curve that falls at once belongs to rows that share one direction. Right: the share of their sum that the "
        "first k singular values have; the more slowly it grows, the more directions are in use. The markers show the "
        "effective rank.",
    ),
    "cosine": (
        "Pretrained and new tokens",
        "Cosine similarities among pretrained tokens (top left), among new tokens (bottom right), and between the two. "
        "If the whole square of the new tokens is bright, the model cannot tell them apart. Squares along their "
        "diagonal are the levels of the Semantic ID: tokens of one level are more alike than tokens of two. Bright "
        "blocks among the pretrained tokens belong to the model: tokens that pretraining hardly ever met, such as "
        "fragments of words, all moved in one direction and lie close together. The bright stripes beside them say "
        "that the new tokens lie near that direction, too.",
    ),
    "hierarchy": (
        "All new tokens by hierarchy",
        "Cosine similarities among all new tokens, level by level. Within a level, codes with the same parent stand "
        "together, and codes with similar codebook vectors stand side by side. Bright blocks along the diagonal mean "
        "that the rows follow this hierarchy. One even colour within a level means that they do not.",
    ),
    "rsa": (
        "Agreement with the codebooks",
        "Representational similarity analysis: the correlation between the cosines of the new rows and the cosines of "
        "the codebook vectors, over all codes and within each level. Bars that reach zero with their interval show no "
        "agreement. Over all codes the correlation mixes levels, and may be near zero although each level agrees.",
    ),
    "trajectory": (
        "Along the training",
        "Figures from checkpoint to checkpoint. Where several trainings began from one checkpoint, their curves branch "
        "there. The last panel shows how much of the arrangement of the rows each training kept, as debiased linear "
        "CKA with the checkpoint before (1: the same arrangement, 0: an unrelated one). It is undefined after a start "
        "whose rows are all equal.",
    ),
}


def name_alike(cosines: npt.NDArray[np.floating], names: Sequence[str]) -> str:
    """Say which pretrained tokens make the bright blocks of a picture; empty where there are none.

    Args:
        cosines: (c, c) cosines among the pretrained tokens that the picture shows.
        names: Their c names.
    """
    others = np.asarray(cosines) - 2 * np.eye(len(names))  # a row is not compared with itself
    alike = [names[row] for row in np.flatnonzero((others >= ALIKE).any(axis=1)).tolist()] if len(names) > 1 else []
    if not alike:
        return ""
    # Names come from the model's vocabulary: Ġ stands for the space before a word.
    shown = ", ".join(name.replace("Ġ", "␣") for name in alike[:_NAMED])
    return (
        f"Here {len(alike)} of the {len(names)} pretrained tokens have a cosine of at least {ALIKE} with another one, "
        f"among them {shown}."
    )
