"""How large the compressed buffers of an Arrow file are when they are read, before they are.

pyarrow decompresses all buffers of a batch at once and has no bound on it. Each compressed buffer begins with its plain
size, and where it lies stands in the message of its batch: a FlatBuffers table, of which the fields below are read
(https://arrow.apache.org/docs/format/Columnar.html, Message.fbs and File.fbs).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"ARROW1"
# Numbers of fields in their tables.
_HEADER_OF_MESSAGE, _DATA_OF_DICTIONARY, _BUFFERS_OF_BATCH, _COMPRESSION_OF_BATCH = 2, 1, 2, 3
_DICTIONARIES_OF_FOOTER, _BATCHES_OF_FOOTER = 2, 3
_BUFFER = struct.Struct("<qq")  # offset in the body, length
_BLOCK = struct.Struct("<qi4xq")  # offset in the file, length of the message's head, length of its body
_SIZE = struct.Struct("<q")
_IS_PLAIN = -1  # in place of a size: this buffer of a compressed batch is stored as it is


def plain_bytes(source: pa.NativeFile) -> int:
    """Add up the sizes that the compressed buffers of an Arrow file have once they are decompressed.

    Args:
        source: The file, in either of Arrow's two formats. pyarrow has opened it once without an error.

    Returns:
        Bytes; 0 where nothing is compressed.

    Raises:
        pyarrow.ArrowInvalid: When a message is damaged or lies outside of the file.
        OSError: When the file ends within a message.
    """
    import pyarrow as pa

    try:
        return sum(map(_plain_bytes_of, _messages(source)))
    except (struct.error, EOFError, OverflowError) as cause:
        raise pa.ArrowInvalid(f"a message of the file is damaged: {cause}") from cause


def _messages(source: pa.NativeFile) -> Iterator[pa.Message]:
    """Yield the messages of a file in the order of the file, or those that its footer lists."""
    import pyarrow as pa

    size = source.size()
    source.seek(0)
    if source.read(len(_MAGIC)) != _MAGIC:  # the streaming format
        source.seek(0)
        while True:
            try:
                yield pa.ipc.read_message(source)
            except EOFError:
                return
    tail = 4 + len(_MAGIC)
    source.seek(size - tail)
    (length,) = struct.unpack("<i", source.read(4))
    source.seek(size - tail - length)
    footer = memoryview(source.read(length))
    root = _root(footer)
    for number in (_DICTIONARIES_OF_FOOTER, _BATCHES_OF_FOOTER):
        for offset, *_ in _structs(footer, root, number, _BLOCK):
            source.seek(offset)
            yield pa.ipc.read_message(source)


def _plain_bytes_of(message: pa.Message) -> int:
    """Add up the plain sizes of a message's compressed buffers."""
    if message.type not in ("record batch", "dictionary"):
        return 0
    head, body = memoryview(message.metadata), memoryview(message.body)
    batch = _table(head, _root(head), _HEADER_OF_MESSAGE)
    if batch is not None and message.type == "dictionary":
        batch = _table(head, batch, _DATA_OF_DICTIONARY)
    if batch is None or _table(head, batch, _COMPRESSION_OF_BATCH) is None:
        return 0
    total = 0
    for offset, length in _structs(head, batch, _BUFFERS_OF_BATCH, _BUFFER):
        size = _SIZE.unpack_from(body, offset)[0] if length else 0
        total += length if size == _IS_PLAIN else max(size, 0)
    return total


def _root(data: memoryview) -> int:
    """Return where the outermost table begins."""
    return int(struct.unpack_from("<I", data, 0)[0])


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Return where a field of a table stands; None where the table does not have it."""
    fields = table - int(struct.unpack_from("<i", data, table)[0])
    if 4 + 2 * number >= struct.unpack_from("<H", data, fields)[0]:
        return None
    offset = int(struct.unpack_from("<H", data, fields + 4 + 2 * number)[0])
    return table + offset if offset else None


def _table(data: memoryview, table: int, number: int) -> int | None:
    """Return where the table or list begins to which a field points; None where there is none."""
    place = _field(data, table, number)
    return None if place is None else place + int(struct.unpack_from("<I", data, place)[0])


def _structs(data: memoryview, table: int, number: int, kind: struct.Struct) -> Iterator[tuple[int, ...]]:
    """Yield the entries of a list of structs."""
    start = _table(data, table, number)
    if start is not None:
        count = struct.unpack_from("<I", data, start)[0]
        for entry in range(count):
            yield kind.unpack_from(data, start + 4 + entry * kind.size)
