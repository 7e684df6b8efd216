"""Old words that new tokens stand in: found, spared where the tokenizer can, and counted where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gti_cli.app import run
from gti_cli.checkpoints.new_tokens import read_new_tokens
from gti_cli.vocabulary.extend import extend
from gti_cli.vocabulary.old_words import SHOWN, OldWords, names_inside, split_old_words, token_texts
from gti_cli.vocabulary.tokenizer import grow_tokenizer
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_tokenizer
from tests.support.vocabulary import load

SENTENCES = ["my mother and her brother saw other mothers", "the moth saw the mother", "红色裙子 红色大衣"] * 20
KINDS = ["byte-level", "metaspace"]


def trained(kind: str) -> Any:
    """A tokenizer that has common words of `SENTENCES` as tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet: list[str] = []
    if kind == "byte-level":
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "</s>"], show_progress=False, initial_alphabet=alphabet
    )
    inner.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="</s>")


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def changed_by(tokenizer: Any, names: list[str], descriptions: list[str] | None = None) -> Any:
    """What a run reports after the tokens were added."""
    before = OldWords.before(tokenizer, TokensToAdd(names, descriptions or []))
    grow_tokenizer(tokenizer, names)
    run = SimpleNamespace(counts={}, details={})
    before.report_changed(tokenizer, run)  # type: ignore[arg-type]
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_old_tokens_hold_the_space_before_them(kind: str) -> None:
    tokenizer = trained(kind)
    texts = token_texts(tokenizer)
    assert " mother" in texts.values()
    assert "</s>" not in texts.values()
    for number, text in texts.items():
        assert tokenizer.decode([*ids(tokenizer, "my"), number]).endswith(text)


def test_names_inside_a_text() -> None:
    assert list(names_inside("mother", {"moth", "other", "x"}, [1, 4, 5])) == [(0, 4), (1, 6)]


@pytest.mark.parametrize("kind", KINDS)
def test_old_words_stay_whole(kind: str) -> None:
    """A new token inside an old word is a whole word; one that is in none may be inflected."""
    tokenizer, names = trained(kind), ["mot", "zorp", "<oth>", "oth"]
    sentence = "her mother saw my brother"
    before = ids(tokenizer, sentence)
    assert split_old_words(tokenizer, names) == {"mot", "oth"}
    new = dict(zip(names, grow_tokenizer(tokenizer, names).ids.tolist(), strict=True))
    assert ids(tokenizer, sentence) == before
    for text, name in (("a mot, here", "mot"), ("oth", "oth"), ("two zorps", "zorp"), ("x<oth>y", "<oth>")):
        assert [number for number in ids(tokenizer, text) if number in new.values()] == [new[name]]


def test_old_words_that_change_are_counted_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = trained("byte-level")
    assert len(ids(tokenizer, " moth")) == 1 and len(ids(tokenizer, "moth")) > 1
    run = changed_by(tokenizer, ["moth"])
    assert run.counts == {"old_words_changed": 1, "found_inside_words": 0} and run.details == {
        "old_words_changed": [" moth"]
    }
    message = capsys.readouterr().err
    assert "1 old word has" in message and "' moth'" in message


def test_words_of_several_tokens_that_may_change_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = trained("byte-level")
    before = ids(tokenizer, "qzorpq")
    run = changed_by(tokenizer, ["zorp", "<x>"])
    assert ids(tokenizer, "qzorpq") != before and run.counts["found_inside_words"] == 1
    assert "1 new tokens are found inside longer words, too ('zorp')" in capsys.readouterr().err


def test_characters_of_a_script_without_spaces_stand_in_words() -> None:
    tokenizer = trained("byte-level")
    before = ids(tokenizer, "红色裙子")
    assert split_old_words(tokenizer, ["色"]) == set()
    run = changed_by(tokenizer, ["色"])
    assert run.counts["old_words_changed"] > 0 and len(run.details["old_words_changed"]) <= SHOWN
    assert ids(tokenizer, "红色裙子") != before


def test_words_of_the_descriptions_are_looked_at() -> None:
    tokenizer = trained("byte-level")
    run = changed_by(tokenizer, ["zorp-", "quib"], ["a zorp-ish thing", "(quib) quib: like a quibble"])
    assert run.details["old_words_changed"] == [" zorp-ish", " quibble"]


def test_tokens_of_semantic_ids_are_added_as_before() -> None:
    from tokenizers import AddedToken

    names = ["<a_0>", "<a_1>", "<b_0>", "<|sid_begin|>"]
    grown, plain = trained("byte-level"), trained("byte-level")
    grow_tokenizer(grown, names)
    plain.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    assert grown.backend_tokenizer.to_str() == plain.backend_tokenizer.to_str()


def test_a_table_of_words(tmp_path: Path, checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    base, words, root = str(checkpoint()), tmp_path / "words.csv", tmp_path / "words"
    words.write_text('token,description\ndre,a dressmaker\n" zorp",a cheese\n')
    found = extend(base, root, tokens=words, device="cpu")
    assert found.counts["old_words_changed"] == 0 and found.details["old_words_changed"] == []
    _, tokenizer = load(root / "extended")
    sentence = "The red evening dress is made of silk."
    assert tokenizer(sentence).input_ids == make_tokenizer()(sentence).input_ids
    assert read_new_tokens(root / "extended").names == ["dre", " zorp"]
    words.write_text("token\nzorp\nof\n")
    assert run(["extend", "--model", base, "--tokens", str(words), "-w", str(tmp_path / "other"), "-q"]) == 2
    message = capsys.readouterr().err
    assert "words.csv, column 'token', row 2" in message and message.count("\n") == 1
    assert not (tmp_path / "other" / "extended").exists()
