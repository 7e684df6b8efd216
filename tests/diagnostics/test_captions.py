"""Captions of the pictures of a diagnosis."""

import numpy as np

from gti_cli.diagnostics.captions import ALIKE, CAPTIONS, name_alike


def test_every_picture_of_the_page_has_a_title_and_a_caption():
    assert set(CAPTIONS) == {"spectrum", "cosine", "hierarchy", "rsa", "trajectory"}
    assert all(title and caption.endswith(".") for title, caption in CAPTIONS.values())
    assert "fragments of words" in CAPTIONS["cosine"][1]


def test_the_tokens_of_the_bright_blocks_are_named():
    cosines = np.eye(4)
    cosines[1, 3] = cosines[3, 1] = ALIKE
    cosines[0, 2] = cosines[2, 0] = ALIKE - 0.01
    sentence = name_alike(cosines, ["a", "Ġb", "c", "d"])
    assert "2 of the 4 pretrained tokens" in sentence and sentence.endswith("among them ␣b, d.")
    assert name_alike(np.eye(3), ["a", "b", "c"]) == ""
    assert name_alike(np.ones((1, 1)), ["a"]) == ""
