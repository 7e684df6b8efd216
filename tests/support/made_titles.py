"""A made-up catalogue of any size, written block by block: titles as shops write them, and categories.

Words are used as in natural catalogues: few are common and most are rare (Zipf), an item's words depend on its
category, and one title in three has a model number that no other title has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_SYLLABLES = ["ba", "ko", "ri", "ten", "lu", "mar", "sol", "ve", "da", "pin", "or", "fa", "gel", "tu", "no", "shi"]
_KINDS, _BRANDS, _WORDS, _WORDS_OF_KIND = 1500, 8000, 60_000, 120
_BLOCK = 1 << 16


def write_titles(path: Path, items: int, seed: int = 0) -> Path:
    """Write a Parquet table of ``item_id``, ``title`` and ``categories``.

    Args:
        path: File to write.
        items: The number of items.
        seed: Seed of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    words = pa.array([_word(number) for number in range(_WORDS)])
    # The words of a kind of goods: some that all goods share, more that are its own.
    of_kind = np.sort(_zipf(rng, _WORDS, (_KINDS, _WORDS_OF_KIND)), axis=1)
    kinds = pa.array([f"Department {kind % 20} > Aisle {kind % 200} > Shelf {kind}" for kind in range(_KINDS)])
    schema = pa.schema([(name, pa.string()) for name in ("item_id", "title", "categories")])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, items, _BLOCK):
            count = min(_BLOCK, items - start)
            kind = _zipf(rng, _KINDS, count)
            parts = [pc.utf8_capitalize(words.take(pa.array(_WORDS - 1 - _zipf(rng, _BRANDS, count))))]
            for _ in range(6):
                parts.append(words.take(pa.array(of_kind[kind, _zipf(rng, _WORDS_OF_KIND, count)])))
            parts.append(words.take(pa.array(_zipf(rng, _WORDS, count))))
            number = rng.integers(10**7, size=count)
            model = [f"x{value:07d}" if value % 3 == 0 else "" for value in number.tolist()]
            title = pc.utf8_trim(pc.binary_join_element_wise(*parts, pa.array(model), " "), " ")
            ids = pa.array([f"B{row:09d}" for row in range(start, start + count)])
            writer.write_table(pa.table([ids, title, kinds.take(pa.array(kind))], schema=schema))
    return path


def _word(number: int) -> str:
    """A word of three or more syllables, different for each number."""
    base, syllables = len(_SYLLABLES), []
    while number or len(syllables) < 3:
        number, digit = divmod(number, base)
        syllables.append(_SYLLABLES[digit])
    return "".join(syllables)


def _zipf(rng: np.random.Generator, most: int, shape: int | tuple[int, ...]) -> np.ndarray:
    """Numbers below ``most``, of which number n is drawn about as often as 1 / (n + 3)."""
    return np.minimum((3 * (most / 3 + 1) ** rng.random(shape) - 3).astype(np.int64), most - 1)
