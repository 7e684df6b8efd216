"""The prompt for a next item: the fast way equals the plain one, histories are cut, foreign tokens are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken

from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.checkpoints.token_names import all_names, parse_name, semantic_id, split_tokens
from gti_cli.errors import InputError
from gti_cli.prompts import next_item
from gti_cli.tables.arrays.row_lists import RowLists
from tests.support.models import make_tokenizer

SIZES = (5, 4)


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "plain"])
def extended(request):
    tokenizer = make_tokenizer(chat=request.param)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in all_names(SIZES)])
    return tokenizer


histories = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(history=histories, wording=st.integers(0, len(next_item.WORDINGS) - 1))
def test_frame_gives_what_template_and_tokenizer_give(extended, history, wording):
    tokens = [f"<a_{a}><b_{b}>" for a, b in history]
    whole = next_item.encode_history(extended, tokens, wording)
    items = [extended(item, add_special_tokens=False)["input_ids"] for item in tokens]
    frame = next_item.make_frame(extended, "<a_0><b_0>", wording)
    assert frame.prompt(items) == whole
    assert whole[: len(frame.before)] == frame.before
    # The history is the last thing the user says, and decoding gives the tokens back exactly.
    inside = whole[len(frame.before) : len(whole) - len(frame.behind)]
    assert extended.decode(inside) == "".join(tokens)
    decoded = extended.decode(whole)
    assert next_item.WORDINGS[wording] in decoded and next_item.SYSTEM in decoded
    closing = "<|im_end|>\n<|im_start|>assistant\n" if extended.chat_template else "\nAssistant: "
    assert extended.decode(frame.behind) == closing


def test_unknown_tokens_are_refused(extended):
    # "e" is no new token: it occurs in several places of the prompt.
    with pytest.raises(InputError, match="does not keep"):
        next_item.make_frame(extended, "e")


def test_wordings_differ_and_end_before_the_history():
    assert len(set(next_item.WORDINGS)) == len(next_item.WORDINGS) >= 3
    assert all(wording.endswith("\n") for wording in next_item.WORDINGS)


@given(st.lists(st.integers()), st.none() | st.integers(1, 30))
def test_a_cut_history_keeps_the_most_recent_items(items, most):
    kept, cut = next_item.cut_history(items, most)
    assert kept == (items if most is None else items[-most:])
    assert len(kept) + cut == len(items)


def new_tokens(tokenizer):
    names = all_names(SIZES)
    levels, codes = zip(*map(parse_name, names), strict=True)
    ids = np.array(tokenizer.convert_tokens_to_ids(names))
    return NewTokens(names, ids, np.array(levels, np.int32), np.array(codes, np.int32))


def test_items_become_their_codes_tokens(extended):
    tokens = new_tokens(extended)
    texts = [semantic_id(codes) for codes in ((4, 0), (0, 3), (4, 0))]
    ids = next_item.encode_items(extended, texts, tokens)
    assert ids.shape == (3, 2) and ids.dtype == np.int64
    assert extended.convert_ids_to_tokens(ids.ravel().tolist()) == [
        name for text in texts for name in split_tokens(text)
    ]


def test_many_items_are_not_tokenized_one_by_one(extended, monkeypatch):
    tokens, rng = new_tokens(extended), np.random.default_rng(0)
    sizes = [int((tokens.levels == level).sum()) for level in range(2)]
    texts = [semantic_id(rng.integers(sizes)) for _ in range(500)]
    expected = extended(texts, add_special_tokens=False)["input_ids"]
    asked = []
    monkeypatch.setattr(
        type(extended),
        "__call__",
        lambda self, t, **how: asked.extend(t) or {"input_ids": [expected[texts.index(text)] for text in t]},
    )
    assert next_item.encode_items(extended, texts, tokens).tolist() == expected
    assert 0 < len(asked) <= 64
    expected[texts.index(texts[0])] = [
        *expected[0][:-1],
        int(tokens.ids[0]),
    ]  # a tokenizer that does otherwise is believed
    assert next_item.encode_items(extended, texts, tokens).tolist()[0] == expected[0]


@pytest.mark.parametrize("bad", ["<a_9><b_0>", "<a_1>", "a shirt", ""])
def test_items_of_other_tokens_are_named(extended, bad):
    with pytest.raises(InputError, match="does not know the semantic IDs " + repr(bad)):
        next_item.encode_items(extended, ["<a_1><b_0>", bad], new_tokens(extended))


def test_prompts_of_many_histories_are_those_of_each():
    frame = next_item.Frame([1, 2], [3], [4, 5])
    tokens = np.asarray([[10, 11], [20, 21], [30, 31]])
    found = frame.search_prompts(RowLists.of([[2, 0, 1], [1], [0, 0]]), tokens)
    assert list(found) == [frame.search_prompt(tokens[rows].tolist()) for rows in ([2, 0, 1], [1], [0, 0])]
