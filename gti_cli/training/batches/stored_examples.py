"""Examples that may be more than memory holds comfortably: a list, or a memory-mapped Arrow file.

As Python objects an example takes some 40 bytes a token, in the file 4; and the file's pages can leave the memory when
other work needs it. Both are sequences of equal examples, so a run gives the same bytes with either.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from gti_cli import console
from gti_cli.prompts.examples import Example
from gti_cli.workspace.files import replacing

T = TypeVar("T")
S = TypeVar("S")

PART = 8192  # examples that are encoded and written at a time
SHARE_OF_MEMORY = 0.25  # of the memory that is available: a list of examples up to this size is comfortable
_BYTES_PER_EXAMPLE = 300  # of the Python objects of an example, besides its numbers
_CGROUP = Path("/sys/fs/cgroup")  # where Linux tells a container how much memory it may use


@dataclass(frozen=True)
class Form(Generic[T]):
    """How examples of one class are stored: as two runs of whole numbers.

    Attributes:
        pack: From an example to its two runs.
        unpack: From the two runs to an equal example.
        bytes_per_number: What a number of a run takes in memory as a Python object.
    """

    pack: Callable[[T], tuple[Sequence[int], Sequence[int]]]
    unpack: Callable[[list[int], list[int]], T]
    bytes_per_number: int


ORDINARY: Form[Example] = Form(lambda example: (example.prompt, example.answer), Example, 40)


class StoredExamples(Sequence[T]):
    """N examples in a memory-mapped Arrow file."""

    def __init__(self, path: Path, form: Form[T]) -> None:
        """Open a file that `keep_examples` wrote.

        Args:
            path: The file; it may be removed while it is open.
            form: How the examples are stored.
        """
        import pyarrow as pa

        self._form = form
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        # Offsets and values of both runs for each batch: views of the file, which take no memory of their own.
        self._batches = [tuple(map(_views, batch.columns)) for batch in batches]
        self._starts = [0, *np.cumsum([batch.num_rows for batch in batches]).tolist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        batch = bisect_right(self._starts, number) - 1
        row = number - self._starts[batch]
        first, second = (values[offsets[row] : offsets[row + 1]].tolist() for offsets, values in self._batches[batch])
        return self._form.unpack(first, second)

    def __iter__(self) -> Iterator[T]:
        for batch in self._batches:
            # Lists of a whole batch are cut faster than an array is for each example.
            (starts, first), (ends, second) = ((offsets.tolist(), values.tolist()) for offsets, values in batch)
            for row in range(len(starts) - 1):
                yield self._form.unpack(first[starts[row] : starts[row + 1]], second[ends[row] : ends[row + 1]])

    def lengths(self) -> list[int]:
        """(N) numbers in both runs of each example: the tokens of an `Example`."""
        parts = [sum(np.diff(offsets) for offsets, _ in batch) for batch in self._batches]
        lengths: list[int] = np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64).tolist()
        return lengths


class Concatenated(Sequence[T]):
    """Several sequences one after the other, without a copy of them."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        """Join sequences.

        Args:
            parts: The sequences.
        """
        self._parts = parts
        self._starts = [0, *np.cumsum([len(part) for part in parts], dtype=np.int64).tolist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        part = bisect_right(self._starts, number) - 1
        example: T = self._parts[part][number - self._starts[part]]
        return example

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._parts)


def keep_examples(parts: Iterable[Sequence[T]], count: int, path: Path, form: Form[T]) -> Sequence[T]:
    """Keep examples in a list, or in a file where the list would not fit comfortably in memory.

    Args:
        parts: The examples in their order, `PART` of them at a time.
        count: Number of all examples.
        path: Where the file goes; it is written only if it is needed, then its folder is made.
        form: How the examples are stored.

    Returns:
        The examples.
    """
    remaining = iter(parts)
    first = next(remaining, [])
    expected = list_bytes(first, form) * count // max(len(first), 1)
    if expected <= comfortable_bytes():
        return [*first, *chain.from_iterable(remaining)]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(chain([first], remaining), path, form)
    console.note(
        f"{count:,} examples would take {expected / 1e9:,.1f} GB of memory: they are kept in a temporary file of "
        f"{path.stat().st_size / 1e9:,.1f} GB, which is read where they are needed"
    )
    return StoredExamples(path, form)


def in_parts(sequence: Sequence[S]) -> Iterator[Sequence[S]]:
    """Cut a sequence into parts for `keep_examples`."""
    for start in range(0, len(sequence), PART):
        yield sequence[start : start + PART]


def how_kept(examples: Sequence[Any]) -> str:
    """Say where examples are, for the manifest."""
    return "memory-mapped Arrow" if isinstance(examples, StoredExamples) else "memory"


def example_lengths(examples: Sequence[Any]) -> list[int]:
    """(N) tokens of each example."""
    return examples.lengths() if isinstance(examples, StoredExamples) else [len(example) for example in examples]


def list_bytes(examples: Sequence[T], form: Form[T]) -> int:
    """Estimate the memory that examples take as Python objects."""
    numbers = sum(len(run) for example in examples for run in form.pack(example))
    return len(examples) * _BYTES_PER_EXAMPLE + numbers * form.bytes_per_number


def comfortable_bytes() -> float:
    """Return how large a list of examples may be: a share of the memory that is available to this process.

    The processes of one machine under a launcher have the same examples, and divide the memory.
    """
    import psutil

    available = [psutil.virtual_memory().available, *_container_memory()]
    return SHARE_OF_MEMORY * float(min(available)) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _container_memory() -> list[int]:
    """Return the memory that the container may still take; empty without a container, or without a limit."""
    try:
        most, used = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return [max(int(most) - int(used), 0)] if most != "max" else []
    except (OSError, ValueError):
        return []


def _write(parts: Iterable[Sequence[T]], path: Path, form: Form[T]) -> None:
    """Write examples to an Arrow file, part by part."""
    import pyarrow as pa

    runs = pa.list_(pa.int32())
    schema = pa.schema([("first", runs), ("second", runs)])
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for part in parts:
            first, second = zip(*map(form.pack, part), strict=True)
            writer.write_batch(pa.record_batch([_list_array(first), _list_array(second)], schema=schema))


def _list_array(runs: Sequence[Sequence[int]]) -> Any:
    """Make an Arrow array with a list for each run."""
    import pyarrow as pa

    offsets = np.cumsum([0, *map(len, runs)], dtype=np.int32)
    values = np.fromiter(chain.from_iterable(runs), np.int32, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(offsets, values)


def _views(column: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return offsets and values of a column of lists, without copying them."""
    return column.offsets.to_numpy(), column.values.to_numpy()
