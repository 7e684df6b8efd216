"""Name the package that a tokenizer needs and this installation lacks.

Where the package sentencepiece is missing, transformers tries tiktoken next and reports only that one. So a folder's
files are asked first, and the words of the error after them.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from gti_cli.errors import InputError

# Packages that kinds of tokenizers need, by the name to install, with the module that they provide.
_MODULES = {
    "sentencepiece": "sentencepiece", "protobuf": "google.protobuf", "tiktoken": "tiktoken", "blobfile": "blobfile",
    "mistral-common": "mistral_common", "fugashi": "fugashi", "ipadic": "ipadic", "unidic-lite": "unidic_lite",
    "sudachipy": "sudachipy", "rhoknp": "rhoknp", "jieba": "jieba", "rjieba": "rjieba", "sacremoses": "sacremoses",
    "nltk": "nltk", "pythainlp": "pythainlp", "phonemizer": "phonemizer",
}  # fmt: skip
_SENTENCEPIECE_MARK = b"\n"  # the first byte of a SentencePiece model; tiktoken's files are lines of letters
# transformers says this wherever it fails to build a tokenizer, also where no package is missing.
_SAID_ALWAYS = "You need to have sentencepiece or tiktoken installed"


def missing_packages(path: str, error: BaseException | None = None) -> InputError | None:
    """Return an error line that names the packages, or None where no package is known to be missing.

    Args:
        path: Folder of the tokenizer, or its name on the hub.
        error: The error with which it failed to load.
    """
    lines = []
    while error is not None:
        lines.append(str(error).replace(_SAID_ALWAYS, "") + str(getattr(error, "name", "") or ""))
        error = error.__cause__ or error.__context__
    words = set(re.split(r"[^a-z0-9-]+", " ".join(lines).lower().replace("_", "-")))
    by_words = [package for package in _MODULES if package in words]
    # The second list may name what transformers tried in vain, so it counts only where the files tell nothing.
    missing = _not_installed(_by_files(Path(path))) or _not_installed(by_words)
    if not missing:
        return None
    named = " and ".join(missing)
    are = "packages" if len(missing) > 1 else "package"
    verb = "are" if len(missing) > 1 else "is"
    return InputError(
        f"its tokenizer needs the {are} {named}, which {verb} not installed",
        where=path,
        remedy=f"install {'them' if len(missing) > 1 else 'it'}: pip install {' '.join(missing)}",
    )


def _by_files(folder: Path) -> list[str]:
    """Return the packages that read the files of a folder's tokenizer, where it has no ``tokenizer.json``."""
    if not folder.is_dir() or (folder / "tokenizer.json").is_file():
        return []
    packages = []
    for model in sorted([*folder.glob("*.model"), *folder.glob("*.spm")]):
        with model.open("rb") as file:
            is_sentencepiece = file.read(1) == _SENTENCEPIECE_MARK
        packages += ["sentencepiece", "protobuf"] if is_sentencepiece else ["tiktoken"]
    packages += ["tiktoken"] if any(folder.glob("*.tiktoken")) else []
    return packages + (["mistral-common"] if (folder / "tekken.json").is_file() else [])


def _not_installed(packages: list[str]) -> list[str]:
    """Return those of the packages that are missing, each once."""
    return [package for package in dict.fromkeys(packages) if not _is_installed(_MODULES[package])]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of ``google.protobuf``, where there is no package ``google`` either
        return False
