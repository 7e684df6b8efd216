"""A package that a tokenizer needs and that is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.tokenizer_packages import missing_packages
from gti_cli.errors import InputError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules that are installed, as far as the code under test can tell."""
    modules: set[str] = set()
    monkeypatch.setattr("gti_cli.checkpoints.tokenizer_packages._is_installed", modules.__contains__)
    return modules


@pytest.mark.parametrize(
    ("file", "content", "packages"),
    [
        ("tokenizer.model", b"\n\x0e\n\x05<unk>", "sentencepiece and protobuf"),
        ("spiece.model", b"\n\x0e\n\x05<unk>", "sentencepiece and protobuf"),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n", "tiktoken"),
        ("qwen.tiktoken", b"IQ== 0\n", "tiktoken"),
        ("tekken.json", b"{}", "mistral-common"),
    ],
)
def test_the_files_tell_which_package(
    file: str, content: bytes, packages: str, tmp_path: Path, installed: set[str]
) -> None:
    (tmp_path / file).write_bytes(content)
    error = missing_packages(str(tmp_path))
    assert error is not None and f"needs the package{'s' if ' ' in packages else ''} {packages}, which" in str(error)
    assert f": pip install {packages.replace(' and', '')}." in str(error)
    (tmp_path / "tokenizer.json").write_text("{}")  # tokenizers alone reads this one
    assert missing_packages(str(tmp_path)) is None
    (tmp_path / "tokenizer.json").unlink()
    installed |= {"sentencepiece", "google.protobuf", "tiktoken", "mistral_common"}
    assert missing_packages(str(tmp_path)) is None


def test_the_error_tells_which_package(installed: set[str]) -> None:
    said = "\nLlamaConverter requires the SentencePiece library but it was not found in your environment."
    for error in (ImportError(said), ModuleNotFoundError("No module named 'sentencepiece'", name="sentencepiece")):
        wrapped = ValueError("cannot convert")
        wrapped.__cause__ = error
        refusal = missing_packages("some/lm", wrapped)
        assert refusal is not None
        assert str(refusal) == (
            "some/lm: its tokenizer needs the package sentencepiece, which is not installed. "
            "Install it: pip install sentencepiece."
        )
    # transformers says this whenever it cannot build a tokenizer, and then no package has to be missing.
    always = "Couldn't instantiate. You need to have sentencepiece or tiktoken installed to convert a slow tokenizer."
    assert missing_packages("some/lm", ValueError(always)) is None
    installed.add("sentencepiece")
    assert missing_packages("some/lm", ImportError(said)) is None


def test_a_tokenizer_that_fails_to_load(tmp_path: Path, installed: set[str]) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(InputError, match="needs the packages sentencepiece and protobuf, which are not installed"):
        load_tokenizer(str(tmp_path))
