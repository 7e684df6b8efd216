"""Histories as training sequences: which items stand in one sequence, which of them are targets, and in which row.

A *window* is a run of a user's items of which some are targets: each is to be predicted from the items before it. Laid
out, a window has a trunk (the words before the history, then the items) and one branch for each target (the words
behind the history, then the target's tokens). A branch sees the trunk up to its own item and itself, at the positions
that it would have in a sequence of its own. With one target the layout is an ordinary example. Several windows that ask
in the same words can stand in one *row*: these words once, all trunks, all branches, each window blind to the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli.prompts.examples import IGNORED

if TYPE_CHECKING:
    import torch

    from gti_cli.prompts.next_item import Frame

_PADDING, _TRUNK = -1, 0
_SHARED = 0  # owner of what all windows of a row see


@dataclass(frozen=True)
class Window:
    """Items in time order, as rows of the catalogue; those from place ``first`` on are targets (``first`` >= 1).

    ``wording``: which of the layout's wordings asks for them.
    """

    items: tuple[int, ...]
    first: int
    wording: int = 0

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self.items) - self.first


def windows(items: Sequence[int], history: int, *, last_only: bool = False, wording: int = 0) -> list[Window]:
    """Cut a user's items into windows of at most ``history`` items before any target.

    Every item but the first is a target once. Where there are more than ``history`` items before a target, it is shown
    the most recent ones: with ``last_only`` exactly ``history``, else between half of ``history`` and all of it, so
    that targets can share a window.
    """
    length = len(items)
    if length < 2:
        return []
    if last_only:
        start = max(length - 1 - history, 0)
        return [Window(tuple(items[start:]), length - 1 - start, wording)]
    found = [Window(tuple(items[: history + 1]), 1, wording)]
    place = history + 1
    while place < length:
        start = place - (history + 1) // 2
        stop = min(start + history + 1, length)
        found.append(Window(tuple(items[start:stop]), place - start, wording))
        place = stop
    return found


def separate(window: Window) -> list[Window]:
    """The same targets and histories with one target in each window: ordinary examples."""
    places = range(window.first, len(window.items))
    return [Window(window.items[: place + 1], place, window.wording) for place in places]


@dataclass(frozen=True)
class Layout:
    """How windows become tokens.

    Attributes:
        frame: the words around a history. items: (N, L) int64 token ids of each catalogue row's item.
        end: id that ends an answer. pad: id that fills up a batch.
        others: further wordings, 1 and on (``frame`` is wording 0); all say the same behind a history.
        even: tokens of a row at which attention costs as much as everything else (see `even_length`): what windows are
            put together by; 0: each is a row of its own.
    """

    frame: Frame
    items: npt.NDArray[np.int64]
    end: int
    pad: int
    others: tuple[Frame, ...] = ()
    even: float = 0.0

    def __post_init__(self) -> None:
        if any(other.behind != self.frame.behind for other in self.others):
            raise ValueError("the wordings differ behind the history, so that their branches cannot share columns")

    def before(self, window: Window) -> list[int]:
        """Token ids before a window's first item."""
        return (self.others[window.wording - 1] if window.wording else self.frame).before

    def prompt(self, window: Window) -> list[int]:
        """Token ids that ask for a window's last item."""
        return [*self.before(window), *self.items[list(window.items[:-1])].ravel().tolist(), *self.frame.behind]

    @property
    def levels(self) -> int:
        """Tokens of an item."""
        return int(self.items.shape[1])

    @property
    def branch(self) -> int:
        """Tokens of a branch: the words behind the history and the target (the end of the answer is not read)."""
        return len(self.frame.behind) + self.levels

    def tokens(self, window: Window) -> int:
        """Length of a window's sequence."""
        trunk = len(self.before(window)) + (len(window.items) - 1) * self.levels
        return trunk + window.targets * self.branch

    def rows(self, batch: Sequence[Window]) -> list[list[Window]]:
        """Which windows of a batch stand in one row: each in a row of its own, or together where that costs less.

        Longer rows read the shared words less often, but attend to more that they may not see. What rows cost is what
        they cost filled up: rows x longest x (1 + longest / ``even``); a gain below a tenth is not trusted.
        """
        alone = [[window] for window in batch]
        if not self.even:
            return alone
        longest = max(map(self.tokens, batch))
        ways = [alone, *(self._deal(batch, longest * times) for times in (1, 1.5, 2, 3, 4, 6, 8, 12))]

        def cost(rows: list[list[Window]]) -> float:
            """Of these rows, in tokens."""
            width = max(len(self.before(row[0])) + sum(map(self._own, row)) for row in rows)
            return len(rows) * width * (1 + width / self.even)

        found = min(ways, key=cost)
        return found if cost(found) < 0.9 * cost(alone) else alone

    def _own(self, window: Window) -> int:
        """Tokens behind the words that it shares."""
        return self.tokens(window) - len(self.before(window))

    def _deal(self, batch: Sequence[Window], size: float) -> list[list[Window]]:
        """Windows of each wording in as few rows as hold them with ``size`` tokens each, about equally long.

        The longest window first, each to the emptiest row.
        """
        found: list[list[Window]] = []
        for wording in sorted({window.wording for window in batch}):
            asked = sorted((window for window in batch if window.wording == wording), key=self._own, reverse=True)
            count = min(math.ceil(sum(map(self._own, asked)) / size), len(asked))
            rows: list[list[Window]] = [[] for _ in range(count)]
            filled = [0] * count
            for window in asked:
                row = filled.index(min(filled))
                rows[row].append(window)
                filled[row] += self._own(window)
            found += rows
        return found

    def sequence(self, row: Sequence[Window]) -> npt.NDArray[np.int64]:
        """A row as five numbers of each token, (5, T): id, position, branch, limit, owner.

        The branch is 0 for the trunks. The limit is the first position of the trunk that the token sees no more of: one
        of a trunk sees everything up to itself, one of a branch everything before its branch. The owner is the number
        of its window, from 1 on, or 0 for the words before the history, which all windows of the row see.
        """
        before = self.before(row[0])
        tokens = [(token, place, _TRUNK, place + 1, _SHARED) for place, token in enumerate(before)]
        for owner, window in enumerate(row, start=1):
            trunk = self.items[list(window.items[:-1])].ravel().tolist()
            tokens += [(token, place, _TRUNK, place + 1, owner) for place, token in enumerate(trunk, len(before))]
        branch = _TRUNK
        for owner, window in enumerate(row, start=1):
            for number in range(window.first, len(window.items)):
                branch += 1
                start = len(before) + number * self.levels
                words = [*self.frame.behind, *self.items[window.items[number]].tolist()]
                tokens += [(token, place, branch, start, owner) for place, token in enumerate(words, start)]
        whole: npt.NDArray[np.int64] = np.array(tokens, np.int64).T
        return whole

    def collate(self, batch: Sequence[Window]) -> dict[str, torch.Tensor]:
        """Windows as one batch of `rows`, see `collate_rows`."""
        return self.collate_rows(self.rows(batch))

    def collate_rows(self, rows: Sequence[Sequence[Window]]) -> dict[str, torch.Tensor]:
        """Rows as one batch, filled up on the left so that all branches end in the same columns.

        Returns:
            ``input_ids``, ``position_ids``, ``branches``, ``limits``, ``owners`` (B, T) int64, see `sequence`;
            ``keep`` (M * (L + 1),) the columns whose logits predict answers, M the most targets of a row;
            ``targets`` (B, M * (L + 1)) what they predict, `IGNORED` where a row has fewer targets.
        """
        import torch

        parts = [self.sequence(row) for row in rows]
        asked = [[item for window in row for item in window.items[window.first :]] for row in rows]
        width, most = max(part.shape[1] for part in parts), max(map(len, asked))
        answer = self.levels + 1
        names = ("input_ids", "position_ids", "branches", "limits", "owners")
        whole = np.zeros((len(names), len(rows), width), np.int64)
        whole[0], whole[2] = self.pad, _PADDING
        targets = np.full((len(rows), most, answer), IGNORED, np.int64)
        for row, (part, items) in enumerate(zip(parts, asked, strict=True)):
            whole[:, row, width - part.shape[1] :] = part
            targets[row, most - len(items) :, :-1] = self.items[items]
            targets[row, most - len(items) :, -1] = self.end
        ends = width - self.branch * np.arange(most)[::-1, None]
        keep = (ends - answer + np.arange(answer)).ravel()
        arrays = {**dict(zip(names, whole, strict=True)), "keep": keep, "targets": targets.reshape(len(rows), -1)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def even_length(width: int) -> float:
    """Tokens of a row at which attention costs as much as everything else in a model of hidden size ``width``.

    By the number of operations it would be 6 x width; measured it is 2.3 x (CPU, width 256, forward and backward, with
    a mask), since attention's products are small.
    """
    return 2.3 * width


def tree_mask(batch: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """What each token of a batch of `Layout.collate` may see, to be added to attention scores: (B, 1, T, T).

    0 where it may: what its row shares, its own trunk up to its limit, and its own branch up to itself. The lowest
    number of ``dtype`` elsewhere. Padding sees itself, since a softmax needs something to see.
    """
    import torch

    branches, places, limits, owners = (batch[name] for name in ("branches", "position_ids", "limits", "owners"))
    other, owner = branches[:, None, :], owners[:, None, :]
    trunk = (other == _TRUNK) & ((owner == _SHARED) | (owner == owners[:, :, None]))
    trunk &= places[:, None, :] < limits[:, :, None]
    branch = (other > _TRUNK) & (other == branches[:, :, None]) & (places[:, None, :] <= places[:, :, None])
    itself = torch.eye(branches.shape[1], dtype=torch.bool, device=branches.device)
    mask = torch.zeros(trunk.shape, dtype=dtype, device=branches.device)
    return mask.masked_fill_(~(trunk | branch | itself), torch.finfo(dtype).min)[:, None]
