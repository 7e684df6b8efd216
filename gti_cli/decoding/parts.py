"""Searches for many prompts, part by part: what one process has finished another one, or a later run, need not repeat.

A part is a fixed set of prompts, whoever searches it: so the lists are the same bytes with one process or many, in one
go or after a kill. Parts are files where a folder is given; the processes of a launch divide them among themselves.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.decoding.beam import Ranking, TrieTensors
from gti_cli.decoding.exact import exact_search
from gti_cli.decoding.search import search_all
from gti_cli.errors import InputError
from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ints = npt.NDArray[np.int64]

PROMPTS = 64  # in a part, about
MIN_BEAMS = 20  # by default: a beam as narrow as a short list often drops the best item at the first level
EXACT_COUNTS = ("users_whose_beam_missed", "semantic_ids_the_beam_missed", "prefixes_followed")
PATIENCE = 3600.0  # seconds without a part from another process after which it is given up


@dataclass(frozen=True)
class Asked:
    """What is to be searched.

    Attributes:
        prompts: P token-id lists. extra: (P,) semantic IDs wanted beside ``needed`` for each prompt, since items of a
            history may not be listed. needed: semantic IDs that fill a list. beams: hypotheses kept, beside ``extra``.
        exact: search exactly, behind the beam.
    """

    prompts: Sequence[Sequence[int]]
    extra: Sequence[int]
    needed: int
    beams: int
    exact: bool

    def parts(self, batch_size: int) -> list[list[int]]:
        """Numbers of the prompts of each part: of one width of the beam, and of like length."""
        size = max(PROMPTS // batch_size, 1) * batch_size
        found = []
        for width in sorted(set(self.extra)):
            mine = [number for number, extra in enumerate(self.extra) if extra == width]
            mine.sort(key=lambda number: len(self.prompts[number]))
            found += [mine[start : start + size] for start in range(0, len(mine), size)]
        return found


@dataclass(frozen=True)
class Answered:
    """What was found.

    Attributes:
        ranking: in the order of the prompts, as wide as the widest. missed, followed: (P,) int64, of an exact search:
            semantic IDs that the beam missed, and prefixes computed (0 without).
        searched: prompts that this process searched itself.
    """

    ranking: Ranking
    missed: Ints
    followed: Ints
    searched: int

    def counts(self) -> dict[str, int]:
        """Of an exact search, for the manifest."""
        found = (int((self.missed > 0).sum()), int(self.missed.sum()), int(self.followed.sum()))
        return dict(zip(EXACT_COUNTS, found, strict=True))


def beams_for(given: int | None, items: int) -> int:
    """Hypotheses kept for a list of ``items``: as ``given``, or (None) as many as items and at least `MIN_BEAMS`."""
    return given or max(items, MIN_BEAMS)


def room_for(seen: int) -> int:
    """Semantic IDs wanted beside the list where so many items must not be listed: ``seen`` rounded up to 8, 16, 32, …

    A function of the user alone, so that nobody's beam depends on who else is in the batch; rounded, so that users can
    share a batch.
    """
    return 0 if seen == 0 else max(8, 1 << (seen - 1).bit_length())


@dataclass(frozen=True)
class Searcher:
    """A model over a catalogue. trie: on the model's device. pad: token id that fills ragged prompts."""

    model: PreTrainedModel
    trie: TrieTensors
    pad: int

    def __call__(self, asked: Asked, part: Sequence[int], batch_size: int) -> dict[str, np.ndarray]:
        """Arrays of one part: leaves, scores, missed, followed."""
        prompts, extra = [asked.prompts[number] for number in part], asked.extra[part[0]]
        beam = search_all(
            self.model,
            prompts,
            self.trie,
            asked.beams + extra,
            pad_id=self.pad,
            batch_size=batch_size,
            description="Searching",
        )
        none = np.zeros(len(part), dtype=np.int64)
        if not asked.exact:
            return {"leaves": beam.leaves, "scores": beam.scores, "missed": none, "followed": none}
        found = exact_search(self.model, prompts, self.trie, beam, asked.needed + extra)
        ranking = found.ranking
        return {
            "leaves": ranking.leaves,
            "scores": ranking.scores,
            "missed": found.missed,
            "followed": found.followed,
        }


def search_parts(
    searcher: Searcher, asked: Asked, *, batch_size: int, folder: Path | None = None, description: str, unit: str
) -> Answered:
    """Search for all prompts.

    Args:
        searcher: the model. asked: the prompts. batch_size: prompts in a batch; changes speed, not results.
        folder: keep each part there, take up what is there already, and divide the parts among the processes of this
            launch (None: all in memory). description, unit: of the progress bar.

    Returns:
        On the first process everything; on the others what there is, which nobody should use.

    Raises:
        InputError: another process delivers nothing for `PATIENCE` seconds.
    """
    parts = asked.parts(batch_size)
    numbered = list(enumerate(parts))
    mine = numbered if folder is None else numbered[processes.rank() :: processes.world()]
    found: dict[int, dict[str, np.ndarray]] = {}
    searched = 0
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with console.progress(description, sum(len(part) for _, part in mine), unit) as advance:
        for number, part in mine:
            known = _read(_path(folder, number), len(part)) if folder is not None else None
            if known is None:
                known = searcher(asked, part, batch_size)
                searched += len(part)
                if folder is not None:
                    _write(_path(folder, number), known)
            found[number] = known
            advance(len(part))
    if folder is not None and processes.rank() == 0:
        for number, part in numbered:
            if number not in found:
                found[number] = _await(_path(folder, number), len(part))
    return _joined(parts, found, len(asked.prompts), searched)


def _joined(parts: Sequence[Sequence[int]], found: dict[int, dict[str, np.ndarray]], count: int, own: int) -> Answered:
    width = max((arrays["leaves"].shape[1] for arrays in found.values()), default=0)
    leaves, scores = np.full((count, width), -1, dtype=np.int64), np.full((count, width), -np.inf, dtype=np.float32)
    missed, followed = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for number, arrays in found.items():
        rows, columns = np.asarray(parts[number]), arrays["leaves"].shape[1]
        leaves[rows, :columns], scores[rows, :columns] = arrays["leaves"], arrays["scores"]
        missed[rows], followed[rows] = arrays["missed"], arrays["followed"]
    return Answered(Ranking(leaves, scores), missed, followed, own)


def _path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.npz"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path, writer=str(processes.rank())) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path, count: int) -> dict[str, np.ndarray] | None:
    """A part, None where it is not there or was not written to its end (a full disk, a lost machine)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    whole = set(arrays) == {"leaves", "scores", "missed", "followed"} and len(arrays["leaves"]) == count
    return arrays if whole else None


def _await(path: Path, count: int) -> dict[str, np.ndarray]:
    deadline = time.monotonic() + PATIENCE
    while True:
        arrays = _read(path, count)
        if arrays is not None:
            return arrays
        if time.monotonic() > deadline:
            raise InputError(
                f"another process of this launch has not searched its part within {PATIENCE:,.0f} s",
                where=str(path),
                remedy="give all processes the same --workspace, and run it again: finished parts are kept",
            )
        time.sleep(0.05)
