"""Texts of users become token ids as data: no text, whatever it holds, becomes a control token or a semantic-ID token.

A tokenizer looks for its added tokens in every text. So a title that holds ``<|im_end|>`` would end the user's turn,
and one that holds ``<a_12>`` would name an item. Here such a text is cut inside the name, and its parts are encoded
one after the other: the ids decode to the same text, and none of them is an added token. Texts without such names
have the ids that the tokenizer itself gives. The parts of a prompt that we write, and the tokens of items, stay what
they are.

Which added tokens are meant: special ones, and others that are written with brackets or bars (``<think>``, ``<a_12>``,
``[multimodal]``). Added tokens that are words, white space or tags of HTML are ordinary language, and stay so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gti_cli import console

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Segment = tuple[str, bool]  # a text, and whether it is data; what is not data may hold control and semantic-ID tokens

_MARKS = re.compile(r"[<>\[\]{}|＜＞｜【】]")
# Gemma's tokenizer has a token for each of these; they are no control tokens.
_HTML = re.compile(
    r"</?(a|b|blockquote|br|caption|code|em|h[1-6]|i|li|ol|p|pre|s|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|u|ul)>"
)
_ANCHOR = "\n"  # stands before the later part of a text while that is encoded, so that it is read as inside a text
_HARMLESS = "x"  # a text without any token's name


class DataEncoder:
    """Encodes texts as data.

    Attributes:
        names: Id -> name of the tokens that no text may become.
    """

    def __init__(self, encode: Callable[[str], list[int]], names: Mapping[int, str]) -> None:
        """Prepare.

        Args:
            encode: Encodes a text, without the special tokens that open and close a sequence.
            names: Id -> name of the tokens that no text may become.
        """
        self.names, self._encode = names, encode
        by_length = sorted({name for name in names.values() if len(name) > 1}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, by_length))) if by_length else None

    def is_free(self, ids: Iterable[int]) -> bool:
        """Return whether no id is one of `names`."""
        return self.names.keys().isdisjoint(ids)

    def count(self, ids: Iterable[int]) -> int:
        """Return how many ids are one of `names`."""
        return sum(map(self.names.__contains__, ids))

    def holds_name(self, text: str) -> bool:
        """Return whether a text holds one of `names` as it stands."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def pieces(self, text: str) -> list[str]:
        """Cut a text so that no piece alone becomes a token of `names`; together the pieces are the text.

        A single character that the tokenizer reads as such a token, and nothing else, is left out.
        """
        done: list[str] = []
        waiting = [text]  # the last piece is the next one in the text
        while waiting:
            piece = waiting.pop()
            if self.is_free(self._encode(piece)):
                done.append(piece)
            elif len(piece) > 1:
                waiting += reversed(self._cut(piece))
        return done or [""]

    def encode(self, segments: Sequence[Segment]) -> list[int]:
        """Encode a text that consists of data and of other segments."""
        expected = sum(self.count(self._encode(text)) for text, is_data in segments if not is_data)
        # A cut changes how the text around it is divided into tokens, so pieces are joined to what stands beside them.
        joined, apart = [""], []
        for text, is_data in segments:
            pieces = self.pieces(text) if is_data else [text]
            joined = [*joined[:-1], joined[-1] + pieces[0], *pieces[1:]]
            apart += pieces
        ids = self._encode_parts(joined)
        # Otherwise the end of one segment and the beginning of the next are a name together.
        return ids if self.count(ids) == expected else self._encode_parts(apart)

    def _encode_parts(self, parts: Sequence[str]) -> list[int]:
        return [*self._encode(parts[0]), *(token for part in parts[1:] for token in self._encode_inside(part))]

    def _encode_inside(self, text: str) -> list[int]:
        """Encode a text that does not begin a sequence: some tokenizers put a space before the first word of one."""
        anchor, both = self._encode(_ANCHOR), self._encode(_ANCHOR + text)
        alone = self._encode(text)
        kept = both[len(anchor) :]
        return kept if both[: len(anchor)] == anchor and self.count(kept) == self.count(alone) else alone

    def _cut(self, text: str) -> list[str]:
        """Cut a text inside each name; in the middle where only the normalized text holds one."""
        places = [match.start() + 1 for match in self._pattern.finditer(text)] if self._pattern else []
        bounds = [0, *(places or [len(text) // 2]), len(text)]
        return [text[a:b] for a, b in pairwise(bounds)]


# Tokenizer -> its size, by which a tokenizer is known that has grown since, and its encoder.
_encoders: WeakKeyDictionary[Any, tuple[int, DataEncoder]] = WeakKeyDictionary()


def data_encoder(tokenizer: PreTrainedTokenizerBase) -> DataEncoder:
    """Return the encoder of texts for a tokenizer."""
    size = len(tokenizer)
    if tokenizer not in _encoders or _encoders[tokenizer][0] != size:
        _encoders[tokenizer] = (size, DataEncoder(_plain_encode(tokenizer), _reserved(tokenizer)))
    return _encoders[tokenizer][1]


def is_reserved(name: str, special: bool) -> bool:
    """Return whether no text may become an added token.

    Args:
        name: The token.
        special: Whether the tokenizer calls it special.
    """
    return special or (_MARKS.search(name) is not None and not _HTML.fullmatch(name))


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """Encode texts as data, without the special tokens that open and close a sequence.

    Returns:
        The ids of each text, and the number of texts that hold the name of a token.
    """
    if not texts:
        return [], 0
    encoder = data_encoder(tokenizer)
    encoded = [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    naming = [n for n, ids in enumerate(encoded) if not encoder.is_free(ids)]
    for n in naming:
        encoded[n] = encoder.encode([(texts[n], True)])
    return encoded, len(naming)


def encode_between(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    frames: Sequence[tuple[str, str]],
    *,
    data: Sequence[bool],
    add_special_tokens: bool,
) -> list[list[int]]:
    """Encode prompts: each text between the two parts of its frame.

    Args:
        tokenizer: Tokenizer of the model.
        texts: N texts.
        frames: For each text, what stands before and behind it: control tokens stay what they are.
        data: For each text whether it is data. Else it may hold semantic-ID tokens.
        add_special_tokens: Whether the tokenizer adds the token that opens a sequence.
    """
    prompts = [text.join(frame) for text, frame in zip(texts, frames, strict=True)]
    encoded = [list(ids) for ids in tokenizer(prompts, add_special_tokens=add_special_tokens)["input_ids"]]
    if not any(data):
        return encoded
    encoder = data_encoder(tokenizer)

    def whole(text: str) -> list[int]:
        """Token ids of a whole prompt."""
        return list(tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])

    own = {frame: encoder.count(whole(_HARMLESS.join(frame))) for frame in dict.fromkeys(frames)}
    opening, closing = _around(encoder.encode([(_HARMLESS, False)]), whole(_HARMLESS))
    for n, (text, frame, is_data) in enumerate(zip(texts, frames, data, strict=True)):
        if is_data and encoder.count(encoded[n]) != own[frame]:
            before, behind = frame
            encoded[n] = [*opening, *encoder.encode([(before, False), (text, True), (behind, False)]), *closing]
    return encoded


def _around(inner: list[int], outer: list[int]) -> tuple[list[int], list[int]]:
    """What stands before and behind some ids in others; nothing where the others do not hold them."""
    for at in range(len(outer) - len(inner) + 1):
        if outer[at : at + len(inner)] == inner:
            return outer[:at], outer[at + len(inner) :]
    return [], []


def note_naming(naming: int, of: int, kind: str = "texts") -> None:
    """Say how many texts hold the name of a token; nothing where none does."""
    if naming:
        console.note(
            f"{naming:,} of {of:,} {kind} hold the name of a control token or of a semantic ID's token (such as "
            "<|im_end|> or <a_12>): the name is read as plain text"
        )


def _plain_encode(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], list[int]]:
    """The tokenizer as a function of a text, which does not keep the tokenizer alive."""
    from weakref import ref

    weak = ref(tokenizer)

    def encode(text: str) -> list[int]:
        """Token ids of a text, as the tokenizer gives them."""
        alive = weak()
        assert alive is not None
        return list(alive(text, add_special_tokens=False)["input_ids"])

    return encode


def _reserved(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id -> name of the tokens that no text may become."""
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=False))
    added = {
        n: token.content
        for n, token in tokenizer.added_tokens_decoder.items()
        if is_reserved(token.content, token.special)
    }
    reserved = {**special, **added}
    # Characters that a tokenizer does not know become this token. That is no control, unless it is another one, too.
    unknown = tokenizer.unk_token_id
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if unknown is not None and unknown not in others:
        reserved.pop(unknown, None)
    return reserved
