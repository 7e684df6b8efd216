"""New tokens in tokenizers of several kinds, written and read again by plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli.checkpoints.limits import count_used_rows
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.vocabulary.tokenizer import check_saved, grow_tokenizer, refuse_known_tokens
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import SENTENCES, make_tokenizer

NAMES = ["<a_1>", "<b_2>", "zorp"]
TEXTS = ["<a_1><b_2>", "see <a_1> <b_2>.", "x<a_1>y <b_2>", "<a_1>  <b_2> ", "<a_1>\n<b_2>", "(<a_1>,<b_2>)"]
EXACT, SPACED = ["byte-level", "gemma", "metaspace"], ["llama-1", "gpt2-prefix"]


def tokenizer_of(kind: str) -> Any:
    """A BPE tokenizer that treats spaces as those of a family of models do."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if kind == "byte-level":
        return make_tokenizer()
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = [*"abcdefghijklmnopqrstuvwxyz.,()▁\n"]
    plain, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    if kind == "gemma":
        inner.normalizer = normalizers.Replace(" ", "▁")
        inner.decoder = decoders.Sequence([plain, decoders.Fuse()])
    elif kind == "metaspace":
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        inner.decoder = decoders.Sequence([plain, decoders.Fuse(), strip])
    elif kind == "llama-1":
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        inner.decoder = decoders.Sequence([plain, decoders.Fuse(), strip])
    else:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "</s>"], show_progress=False, initial_alphabet=alphabet
    )
    inner.train_from_iterator(SENTENCES * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")


def saved(tokenizer: Any, folder: Path) -> tuple[NewTokens, dict[str, int], Any]:
    from transformers import AutoTokenizer

    before = tokenizer.get_vocab()
    tokens = grow_tokenizer(tokenizer, NAMES)
    tokenizer.save_pretrained(folder)
    return tokens, before, AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", [*EXACT, *SPACED])
def test_one_id_each_and_back_again(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens, before, tokenizer = saved(tokenizer_of(kind), tmp_path)
    check_saved(tmp_path, before, tokens)
    assert ("puts a space between" in capsys.readouterr().err) == (kind in SPACED)
    first, second = tokens.ids.tolist()[:2]
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert [number for number in ids if number in (first, second)] == [first, second]
        for found in (tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=True)):
            assert found == text if kind in EXACT else found.replace(" ", "") == text.replace(" ", "")
    assert tokenizer.decode([first, second, first]) == "<a_1><b_2><a_1>"  # an item alone is exact everywhere
    for name, number in zip(tokens.names, tokens.ids.tolist(), strict=True):
        assert tokenizer(name, add_special_tokens=False).input_ids == [number]
    assert {name: tokenizer.get_vocab()[name] for name in before} == before


@pytest.mark.parametrize(
    ("ids", "message"), [({"w51": 51, "w52": 52}, "ids that others have: '<a_1>'"), ({"</s>": 300}, "after saving")]
)
def test_ids_with_gaps(ids: dict[str, int], message: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {**{f"w{number}": number for number in range(50)}, **ids}
    inner = Tokenizer(models.WordLevel(vocabulary, "w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>" if "</s>" in ids else "w1")
    assert count_used_rows(tokenizer) == max(ids.values()) + 1
    with pytest.raises(InputError, match=message):
        tokens, before, _ = saved(tokenizer, tmp_path)
        check_saved(tmp_path, before, tokens)


def test_names_inside_one_another(tmp_path: Path) -> None:
    """The longest name wins where one is the beginning of another; both stay one id."""
    tokenizer = make_tokenizer()
    before = tokenizer.get_vocab()
    tokens = grow_tokenizer(tokenizer, ["zor", "zorp", "orp"])
    tokenizer.save_pretrained(tmp_path)
    check_saved(tmp_path, before, tokens)
    assert tokenizer("zorp orp", add_special_tokens=False).input_ids[0] == tokens.ids[1]


@pytest.mark.parametrize(
    ("kind", "name"), [("byte-level", " the"), ("byte-level", "of"), ("metaspace", "with"), ("gpt2-prefix", "the")]
)
def test_a_token_that_the_tokenizer_has_already_is_refused(kind: str, name: str) -> None:
    tokenizer, table = tokenizer_of(kind), Path("words.csv")
    with pytest.raises(InputError, match=rf"^words.csv, column 'token', row 2: the tokenizer of base has .* '{name}'"):
        refuse_known_tokens(tokenizer, TokensToAdd(["zorp", name], table=table), "base")
    refuse_known_tokens(tokenizer, TokensToAdd(["zorp", " zorps"], table=table), "base")


def test_codes_that_the_tokenizer_has_already_are_refused() -> None:
    tokenizer = make_tokenizer()
    refuse_known_tokens(tokenizer, TokensToAdd(["<a_1>", "<a_2>"]), "base")
    tokenizer.add_tokens(["<a_2>"])
    with pytest.raises(InputError, match=r"^base: the tokenizer has these tokens already: '<a_2>'"):
        refuse_known_tokens(tokenizer, TokensToAdd(["<a_1>", "<a_2>"]), "base")


def test_a_token_with_a_space_before_it_is_kept_with_it(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    before = tokenizer.get_vocab()
    tokens = grow_tokenizer(tokenizer, [" zorp"])
    tokenizer.save_pretrained(tmp_path)
    check_saved(tmp_path, before, tokens)
    ids = tokenizer("a zorp and a zorpling", add_special_tokens=False).input_ids
    assert ids.count(tokens.ids[0]) == 2 and tokenizer.decode(ids) == "a zorp and a zorpling"
