import re

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.diagnostics.token_selection import find_new_tokens, pretrained_ids, read_vocabulary
from gti_cli.errors import InputError
from tests.support.models import make_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<b_1>", "<a_10>", "<a_2>", "<zzz>"])
    tokenizer.save_pretrained(path)
    return path


def find(folder, **options):
    vocabulary = read_vocabulary(folder)
    return find_new_tokens(folder, vocabulary, len(vocabulary.ids), **options)


def test_ordered_by_level_and_code_the_rest_last(folder):
    tokens = find(folder, tokens_from="<.{3,}>")
    assert [name for name in tokens.names if "_" in name and "|" not in name] == ["<a_2>", "<a_10>", "<b_1>"]
    assert tokens.levels.tolist()[:3] == [0, 0, 1]
    assert set(tokens.levels.tolist()[3:]) == {-1}


def test_files_of_every_kind_say_the_same(folder, tmp_path):
    names = ["<zzz>", "<a_2>", "<b_1>", "<a_10>"]
    (tmp_path / "t.txt").write_text("\n".join([*names, "", "<zzz>"]))
    tables.write(tmp_path / "t.parquet", {"token": names})
    (tmp_path / "t.csv").write_text("token,description\n" + "\n".join(f"{name},x" for name in names))
    found = [find(folder, tokens_from=str(tmp_path / f"t.{end}")) for end in ("txt", "parquet", "csv")]
    assert all(tokens.names == ["<a_2>", "<a_10>", "<b_1>", "<zzz>"] for tokens in found)


def test_base_vocab(folder):
    vocabulary = read_vocabulary(folder)
    base = len(vocabulary.ids) - 4
    tokens = find(folder, base_vocab=base)
    assert sorted(tokens.ids) == list(range(base, base + 4))
    assert np.array_equal(pretrained_ids(tokens, vocabulary, base + 4, base), np.arange(base))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says which"),
        ({"base_vocab": 0}, "leaves no new row"),
        ({"base_vocab": 10**6}, "leaves no new row"),
        ({"tokens_from": "["}, "neither a file nor a regular expression"),
        ({"tokens_from": "nothing"}, "matches no whole token"),
        ({"tokens_from": "absent/list.txt"}, "no such file"),
        ({"tokens_from": "<b_1>"}, "only 1 new tokens"),
    ],
)
def test_what_cannot_be_found(folder, options, message):
    with pytest.raises(InputError, match=message):
        find(folder, **options)


@pytest.mark.parametrize(
    ("added", "proposed"),
    [
        (["<w1>", "<w20>", "[new]"], r"'<w[0-9]+>|\[new\]'"),
        ([f"word{letter}" for letter in "abcdefghijk"], "FILE_OR_PATTERN"),  # too many for a pattern
        ([], "FILE_OR_PATTERN"),
        (["<a_0>", "<w1>"], "'<a_[0-9]+>'"),  # codes before other words
    ],
)
def test_what_would_be_taken_is_proposed(tmp_path, added, proposed):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="nothing says which") as caught:
        find(tmp_path)
    assert f"Pass --tokens-from {proposed} or --base-vocab N" in str(caught.value)
    if proposed.startswith("'"):
        matched = {name for name in read_vocabulary(tmp_path).ids if re.fullmatch(proposed[1:-1], name)}
        assert matched == {name for name in added if not name.startswith("<w")} or matched == set(added)


def test_bad_lists(folder, tmp_path):
    file = tmp_path / "t.txt"
    for content, message in ((b"<a_2>\n<unknown>\n", "does not know '<unknown>'"), (b"", "lists no token")):
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            find(folder, tokens_from=str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        find(folder, tokens_from=str(file))
    with pytest.raises(InputError, match="has id"):
        find_new_tokens(folder, read_vocabulary(folder), 5, tokens_from="<[ab]_[0-9]+>")


def test_words_are_readable(folder):
    vocabulary = read_vocabulary(folder)
    ids = vocabulary.tokenizer.encode(" silk dress").ids
    assert "".join(vocabulary.word(i) for i in ids) == "silkdress"
    assert vocabulary.word(vocabulary.ids["Ġ"]) == "Ġ"
    assert vocabulary.word(vocabulary.ids["Ã"]) == "Ã"  # one byte of a character
    assert vocabulary.word(10**6) == "id 1000000"


def test_damaged_and_absent_tokenizers(tmp_path):
    assert read_vocabulary(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer"):
        read_vocabulary(tmp_path)


def test_nothing_pretrained_left(folder):
    vocabulary = read_vocabulary(folder)
    tokens = find(folder, tokens_from="(?s).*")
    with pytest.raises(InputError, match="too few to compare"):
        pretrained_ids(tokens, vocabulary, len(vocabulary.ids), None)
