"""The seal of a text: it holds until somebody edits the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.workspace.sealed import Seal, is_sealed_card, read_seal, seal

TEXT = "---\nlicense: mit\n---\n\n# Name\n\nSome text.\n"


def test_a_sealed_text_is_intact_and_keeps_its_words() -> None:
    sealed = seal(TEXT, "ab12")
    assert sealed.startswith(TEXT) and sealed.endswith("-->\n")
    assert read_seal(sealed) == Seal("ab12", True)
    assert seal(TEXT, "ab12") == sealed != seal(TEXT, "ab13")


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: t.rstrip(), lambda t: t + "\n\n"])
def test_ends_of_lines_are_no_edit(change: object) -> None:
    assert read_seal(change(seal(TEXT, "ab12"))) == Seal("ab12", True)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("old", "new"), [("mit", "apache-2.0"), ("Some text.", "Some  text."), ("# Name\n", "# Name\n\n"), ("# Name", "")]
)
def test_an_edit_breaks_the_seal(old: str, new: str) -> None:
    assert read_seal(seal(TEXT, "ab12").replace(old, new)) == Seal("ab12", False)


def test_words_behind_the_seal_break_it_and_a_text_without_one_has_none() -> None:
    assert read_seal(seal(TEXT, "ab12") + "More words.\n") == Seal("", False)
    assert read_seal(TEXT) is None


def test_a_card_is_known_by_name_and_seal(tmp_path: Path) -> None:
    for name, text in (("README.md", seal(TEXT, "1")), ("OTHER.md", seal(TEXT, "1"))):
        (tmp_path / name).write_text(text)
    assert is_sealed_card(tmp_path / "README.md") and not is_sealed_card(tmp_path / "OTHER.md")
    (tmp_path / "README.md").write_text(seal(TEXT, "1").replace("mit", "other") + "More.")
    assert is_sealed_card(tmp_path / "README.md")  # edited, and still a card
    (tmp_path / "README.md").write_bytes(b"\xff\xfe no card")
    assert not is_sealed_card(tmp_path / "README.md")
