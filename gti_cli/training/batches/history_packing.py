"""History examples laid out as tokens, and several of them packed into one row of a batch.

A history example (`gti_cli.training.batches.history_examples`) is a run of a user's items whose last items are targets.
Laid out as tokens, it is a tree. Its *history part* is the template prefix followed by the items. Each target adds a
*branch*: the rest of the prompt after the history, then the target's tokens. A branch attends to the history part up to
its own target and to itself, at the positions that it would have in a sequence of its own. One sequence therefore gives
the losses of one separate example for each target, while the history is computed once. With a single target the
sequence is an ordinary example.

Several history examples with the same template prefix can share one *row* of a batch: the template prefix once, then
all histories, then all branches. The attention mask (`tree_mask`) hides the examples of a row from each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from gti_cli.prompts.examples import IGNORED
from gti_cli.training.batches.history_arrays import HistoryExamples
from gti_cli.training.batches.history_examples import HistoryExample

if TYPE_CHECKING:
    import torch

    from gti_cli.prompts.next_item import Frame

# Branch numbers of tokens that belong to no branch. Branches count from 1.
_PADDING, _HISTORY = -1, 0
_SHARED = 0  # owner number of the template prefix, which all examples of a row see; examples count from 1
# Row lengths that `HistoryLayout.pack` tries, in multiples of the longest example.
_ROW_LENGTHS = (1, 1.5, 2, 3, 4, 6, 8, 12)


class BranchPrior(Protocol):
    """A behaviour prior, which knows what tends to follow a history (`gti_cli.priors`)."""

    def biases(self, rows: Sequence[Sequence[HistoryExample]], most: int) -> torch.Tensor:
        """(rows, ``most``, C, L, K) biases of the codes of each row's targets, which stand at its end."""
        ...


@dataclass(frozen=True)
class HistoryLayout:
    """How history examples become tokens, and which of them share a row.

    Attributes:
        frame: Token ids around a history (wording 0).
        item_token_ids: (N, L) int64. Token ids of the item of each catalogue row.
        end_id: Token id that ends an answer.
        pad_id: Token id of padding.
        other_frames: The same as ``frame`` for wordings 1 and up. All have the same ids after the history.
        equal_cost_length: Row length at which attention costs as much as everything else, see `equal_cost_length`.
            It decides how many examples share a row; 0: each example has a row of its own.
        prior: Adds ``prior`` to each batch; None: no behaviour prior.
    """

    frame: Frame
    item_token_ids: npt.NDArray[np.int64]
    end_id: int
    pad_id: int
    other_frames: tuple[Frame, ...] = ()
    equal_cost_length: float = 0.0
    prior: BranchPrior | None = None

    def __post_init__(self) -> None:
        if any(frame.behind != self.frame.behind for frame in self.other_frames):
            raise ValueError("the wordings differ after the history, so that their branches cannot share columns")

    @property
    def levels(self) -> int:
        """Tokens of an item."""
        return int(self.item_token_ids.shape[1])

    @property
    def branch_length(self) -> int:
        """Tokens of a branch: the prompt after the history, and the target (the end of the answer is not read)."""
        return len(self.frame.behind) + self.levels

    def template_prefix(self, example: HistoryExample) -> list[int]:
        """Token ids before an example's first item."""
        return (self.other_frames[example.wording - 1] if example.wording else self.frame).before

    def prompt(self, example: HistoryExample) -> list[int]:
        """Token ids of the prompt for an example's last item."""
        history = self.item_token_ids[list(example.items[:-1])].ravel().tolist()
        return [*self.template_prefix(example), *history, *self.frame.behind]

    def token_count(self, example: HistoryExample) -> int:
        """Length of an example's sequence in a row of its own."""
        history_part = len(self.template_prefix(example)) + (len(example.items) - 1) * self.levels
        return history_part + example.target_count * self.branch_length

    @property
    def prefix_lengths(self) -> npt.NDArray[np.int64]:
        """(wordings,) tokens before the first item."""
        return np.asarray([len(frame.before) for frame in (self.frame, *self.other_frames)], dtype=np.int64)

    def token_counts(self, examples: HistoryExamples) -> npt.NDArray[np.int64]:
        """(E,) `token_count` of each example."""
        history = self.prefix_lengths[examples.wordings] + (examples.lengths - 1) * self.levels
        counts: npt.NDArray[np.int64] = history + examples.target_counts * self.branch_length
        return counts

    def pack(
        self, batch: Sequence[HistoryExample], most_tokens: float = math.inf, most_targets: float = math.inf
    ) -> list[list[HistoryExample]]:
        """Divide a batch into rows: one example in each, or several where that costs less.

        Longer rows hold fewer copies of the template prefix, but compute attention between examples that is masked
        out. Rows are padded to the longest, so their cost is estimated as rows x longest x (1 + longest /
        ``equal_cost_length``).

        Args:
            batch: Examples, with different wordings or not.
            most_tokens: Most tokens of a row that holds several examples.
            most_targets: Most targets of such a row.

        Returns:
            The examples of each row, which all have the same wording.
        """
        unpacked = [[example] for example in batch]
        if not self.equal_cost_length:
            return unpacked
        longest = max(map(self.token_count, batch))

        def width(rows: list[list[HistoryExample]]) -> int:
            """Tokens of the longest of these rows."""
            return max(len(self.template_prefix(row[0])) + sum(map(self._own_tokens, row)) for row in rows)

        def targets(rows: list[list[HistoryExample]]) -> int:
            """Most targets of one of these rows."""
            return max(sum(example.target_count for example in row) for row in rows)

        def cost(rows: list[list[HistoryExample]]) -> float:
            """Estimated cost of computing these rows, in tokens."""
            columns = width(rows)
            return len(rows) * columns * (1 + columns / self.equal_cost_length)

        candidates = [self._distribute(batch, longest * factor) for factor in _ROW_LENGTHS]
        allowed = [rows for rows in candidates if width(rows) <= most_tokens and targets(rows) <= most_targets]
        packed = min([unpacked, *allowed], key=cost)
        # The estimate is rough: a gain below a tenth is not worth a mask of our own.
        return packed if cost(packed) < 0.9 * cost(unpacked) else unpacked

    def _own_tokens(self, example: HistoryExample) -> int:
        """Tokens that an example does not share with others in its row: all but the template prefix."""
        return self.token_count(example) - len(self.template_prefix(example))

    def _distribute(self, batch: Sequence[HistoryExample], length: float) -> list[list[HistoryExample]]:
        """As few rows of about ``length`` tokens as hold the batch, separately for each wording."""
        all_rows: list[list[HistoryExample]] = []
        for wording in sorted({example.wording for example in batch}):
            # Longest first, each into the emptiest row: the rows come out about equally long.
            examples = [example for example in batch if example.wording == wording]
            examples.sort(key=self._own_tokens, reverse=True)
            count = min(math.ceil(sum(map(self._own_tokens, examples)) / length), len(examples))
            rows: list[list[HistoryExample]] = [[] for _ in range(count)]
            filled = [0] * count
            for example in examples:
                row = filled.index(min(filled))
                rows[row].append(example)
                filled[row] += self._own_tokens(example)
            all_rows += rows
        return all_rows

    def token_table(self, row: Sequence[HistoryExample]) -> npt.NDArray[np.int64]:
        """The tokens of a row and what the attention mask needs to know of each.

        Args:
            row: Examples with the same wording.

        Returns:
            (5, T) int64: token id, position, branch, limit and owner of each token. The branch is 0 in the history
            part and counts from 1 through the targets of the row. The limit is the first position of the history part
            that the token does not see: a token of the history part sees up to itself, one of a branch sees
            everything before its branch. The owner is the number of its example in the row, from 1, or 0 in the
            template prefix, which all examples see.
        """
        prefix = self.template_prefix(row[0])
        # Each entry is (token id, position, branch, limit, owner).
        tokens = [(token, place, _HISTORY, place + 1, _SHARED) for place, token in enumerate(prefix)]
        # Every example starts its history right after the template prefix, so positions repeat between examples.
        for owner, example in enumerate(row, start=1):
            history = self.item_token_ids[list(example.items[:-1])].ravel().tolist()
            tokens += [(token, place, _HISTORY, place + 1, owner) for place, token in enumerate(history, len(prefix))]
        branch = _HISTORY
        for owner, example in enumerate(row, start=1):
            for number in range(example.first_target, len(example.items)):
                branch += 1
                # A branch continues at the position where its target stands in the history.
                start = len(prefix) + number * self.levels
                ids = [*self.frame.behind, *self.item_token_ids[example.items[number]].tolist()]
                tokens += [(token, place, branch, start, owner) for place, token in enumerate(ids, start)]
        table: npt.NDArray[np.int64] = np.array(tokens, np.int64).T
        return table

    def collate(self, batch: Sequence[HistoryExample]) -> dict[str, torch.Tensor]:
        """The tensors of a batch, packed into rows; see `collate_rows`."""
        return self.collate_rows(self.pack(batch))

    def collate_rows(self, rows: Sequence[Sequence[HistoryExample]]) -> dict[str, torch.Tensor]:
        """The tensors of a batch of rows, padded on the left so that all branches end in the same columns.

        Args:
            rows: The examples of each of B rows. M is the largest number of targets in a row, L the number of levels.

        Returns:
            ``input_ids``, ``position_ids``, ``branches``, ``limits``, ``owners``: (B, T) int64, see `token_table`.
            ``keep``: (M * (L + 1),) int64, the columns whose logits predict the answers' tokens. ``targets``:
            (B, M * (L + 1)) int64, these tokens; `IGNORED` where a row has fewer targets than M. With a behaviour
            prior also ``prior``: (B, M, C, L, codes) float32, what each channel adds to the logits of the codes.
        """
        import torch

        tables = [self.token_table(row) for row in rows]
        target_items = [[item for example in row for item in example.items[example.first_target :]] for row in rows]
        width, most = max(table.shape[1] for table in tables), max(map(len, target_items))
        answer_length = self.levels + 1  # the target's tokens and the end of the answer
        names = ("input_ids", "position_ids", "branches", "limits", "owners")
        columns = np.zeros((len(names), len(rows), width), np.int64)
        columns[0], columns[2] = self.pad_id, _PADDING
        targets = np.full((len(rows), most, answer_length), IGNORED, np.int64)
        for row, (table, items) in enumerate(zip(tables, target_items, strict=True)):
            columns[:, row, width - table.shape[1] :] = table
            targets[row, most - len(items) :, :-1] = self.item_token_ids[items]
            targets[row, most - len(items) :, -1] = self.end_id
        # All branches have the same length and stand at the end of a row, so the last `most` stretches of columns hold
        # one branch each. A logit predicts the next token, so an answer is predicted by the last tokens of its branch.
        branch_ends = width - self.branch_length * np.arange(most)[::-1, None]
        keep = (branch_ends - answer_length + np.arange(answer_length)).ravel()
        arrays = {**dict(zip(names, columns, strict=True)), "keep": keep, "targets": targets.reshape(len(rows), -1)}
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self.prior is not None:
            batch["prior"] = self.prior.biases(rows, most)
        return batch


def equal_cost_length(hidden_size: int) -> float:
    """Row length, in tokens, at which attention costs as much as everything else in a model.

    By the number of operations it would be 6 x ``hidden_size``. Measured, it is 2.3 x (CPU, hidden size 256, forward
    and backward pass with a mask), since the matrix products of attention are small.
    """
    return 2.3 * hidden_size


def tree_mask(batch: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """The attention mask of a batch of `HistoryLayout.collate`, to be added to attention scores.

    A token sees the template prefix of its row, its own history up to its limit, and its own branch up to itself.

    Args:
        batch: Tensors of B rows with T columns.
        dtype: Number format of the mask.

    Returns:
        (B, 1, T, T): 0 where the token of a row of the mask sees the token of a column, the lowest number of ``dtype``
        elsewhere.
    """
    import torch

    branches, places, limits, owners = (batch[name] for name in ("branches", "position_ids", "limits", "owners"))
    # Dimension 1 is the token that looks (query), dimension 2 the token that is looked at (key).
    key_branches, key_owners, key_places = branches[:, None, :], owners[:, None, :], places[:, None, :]
    history = (key_branches == _HISTORY) & ((key_owners == _SHARED) | (key_owners == owners[:, :, None]))
    history &= key_places < limits[:, :, None]
    branch = (key_branches > _HISTORY) & (key_branches == branches[:, :, None]) & (key_places <= places[:, :, None])
    # Padding sees itself, since a softmax over nothing is not a number.
    itself = torch.eye(branches.shape[1], dtype=torch.bool, device=branches.device)
    mask = torch.zeros(history.shape, dtype=dtype, device=branches.device)
    return mask.masked_fill_(~(history | branch | itself), torch.finfo(dtype).min)[:, None]
