"""The invented words of the worked example: each has a description and several wordings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gti_cli import tables

GLOSSES = Path(__file__).resolve().parents[2] / "sample_data" / "glosses"


def test_every_word_has_four_wordings() -> None:
    words = tables.read(GLOSSES / "words.csv", ["token", "description"])
    pairs = tables.read(GLOSSES / "pairs.csv", ["text", "tokens"])
    names = words.column("token").to_pylist()
    assert len(names) == len(set(names)) == 40
    assert Counter(pairs.column("tokens").to_pylist()) == dict.fromkeys(names, 4)
    texts = pairs.column("text").to_pylist()
    assert len(texts) == len(set(texts))
    assert set(words.column("description").to_pylist()) <= set(texts)
