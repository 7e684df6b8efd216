"""Split many texts into terms at once: as scikit-learn's vectorizers do, without a Python object for a word pair."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli.semantic_ids.encoders.lsa_state import MOST_WORDS
from gti_cli.tables import words

if TYPE_CHECKING:
    import pyarrow as pa

Rows = npt.NDArray[np.int32]
_WORD = re.compile(r"\w+")


def split_texts(texts: Sequence[str], grams: tuple[int, int] | None) -> tuple[pa.Array, Rows]:
    """Split texts into words, pairs of neighbouring words and, where ``grams`` is given, character n-grams.

    Args:
        texts: N texts.
        grams: Lengths of the character n-grams of scripts without spaces (`words.terms`); None: their runs are words.

    Returns:
        The terms of all texts (M,), as often as they occur, and (M,) the row of each term's text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[list[str]] = []
    whole: list[list[str]] = []  # terms of texts that Python splits to the end
    for text in texts:
        if grams is not None and words.writes_no_spaces(text):
            whole.append(words.terms(text, MOST_WORDS, grams))
            found.append([])
        else:
            found.append(_WORD.findall(text.lower()))
            whole.append([])
    single, rows = _flat(found)
    parts, rows_of_parts = [single], [rows]
    # A pair for each two neighbours of one text; Arrow joins all of them in one call.
    is_pair = rows[:-1] == rows[1:]
    if is_pair.any():
        first, second = single[:-1].filter(pa.array(is_pair)), single[1:].filter(pa.array(is_pair))
        parts.append(pc.binary_join_element_wise(first, second, " "))
        rows_of_parts.append(rows[1:][is_pair])
    if grams is not None:
        more, rows_of_more = _flat(whole)
        parts.append(more)
        rows_of_parts.append(rows_of_more)
    return pa.concat_arrays(parts), np.concatenate(rows_of_parts)


def _flat(lists: Sequence[list[str]]) -> tuple[Any, Rows]:
    """The strings of all lists, and the number of the list that each is from."""
    import pyarrow as pa

    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    rows = np.repeat(np.arange(len(lists), dtype=np.int32), lengths)
    return pa.array(list(itertools.chain.from_iterable(lists)), pa.string()), rows
