"""Base model, licence and data sets: from names, cards and manifests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gti_cli.cards.origin import hub_name, origin_of, read_metadata
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.workspace.manifest import Manifest

EXTENDED = replace(Manifest.placeholder("extended"), command="extend", options={"model": "owner/small"})


def folder_with(folder: Path, card: str | None, config: dict[str, Any] | None = None) -> Checkpoint:
    """A checkpoint of another tool, with a card and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# Model\n")
    (folder / "config.json").write_text(json.dumps(config or {}))
    return Checkpoint(str(folder), True, None, None)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hub/models--Qwen--Qwen3-0.6B/snapshots/abc", "Qwen/Qwen3-0.6B"),
        ("hub/models--gpt2/snapshots/abc", "gpt2"),
        ("models/Qwen3-0.6B", None),
    ],
)
def test_the_name_on_the_hub(tmp_path: Path, path: str, name: str | None) -> None:
    assert hub_name(Checkpoint(str(tmp_path / path), True, None, None)) == name
    assert hub_name(Checkpoint("Qwen/Qwen3-0.6B", False, None, None)) == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, ("other", "unknown", None)),
        ("tags: [a]", ("other", "unknown", None)),
        ("license: Apache-2.0", ("apache-2.0", None, None)),
        ("license: [mit, apache-2.0]", ("mit", None, None)),
        ("license: Our own licence!", ("other", "our-own-licence", None)),
        ("license: other", ("other", "unknown", None)),
        ("license: other\nlicense_name: qwen\nlicense_link: https://x.org/L", ("other", "qwen", "https://x.org/L")),
        # A file beside the base model's card: without the model's place on the hub, the link would lead nowhere.
        ("license: other\nlicense_name: qwen\nlicense_link: LICENSE", ("other", "qwen", None)),
    ],
)
def test_the_licence_of_the_card_beside_the_base_model(
    tmp_path: Path, card: str | None, expected: tuple[str, str | None, str | None]
) -> None:
    origin = origin_of(folder_with(tmp_path / "base", card), [])
    assert (origin.license, origin.license_name, origin.license_link) == expected
    assert origin.base_model is None


def test_a_licence_in_a_file_of_the_hub_gets_its_address(tmp_path: Path) -> None:
    card = "license: other\nlicense_name: qwen\nlicense_link: LICENSE"
    origin = origin_of(folder_with(tmp_path / "models--o--m" / "snapshots" / "1", card), [])
    assert origin.license_link == "https://huggingface.co/o/m/blob/main/LICENSE" and origin.base_model == "o/m"


def test_the_configuration_may_name_the_licence(tmp_path: Path) -> None:
    assert origin_of(folder_with(tmp_path / "a", None, {"license": "mit"}), []).license == "mit"
    assert origin_of(folder_with(tmp_path / "b", "license: gpl-3.0", {"license": "mit"}), []).license == "gpl-3.0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("[o/m, o/n]", "o/m"),
        ("/home/me/models/x", None),
        ("./x", None),
        ("3", None),
    ],
)
def test_the_base_model_that_a_card_names(tmp_path: Path, value: str, expected: str | None) -> None:
    assert origin_of(folder_with(tmp_path / "base", f"base_model: {value}"), []).base_model == expected


def test_without_a_card_the_manifest_of_extend_knows_the_base_model() -> None:
    assert origin_of(None, [EXTENDED]).base_model == "owner/small"
    assert origin_of(None, [replace(EXTENDED, options={"model": None})]).base_model is None


@pytest.mark.parametrize("card", ["license: [", "- a\n- b"])
def test_a_card_that_cannot_be_read_is_said(tmp_path: Path, card: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_metadata(folder_with(tmp_path / "base", card)) == {}
    assert "README.md: the metadata cannot be read" in capsys.readouterr().err


def test_a_gguf_file_has_its_card_beside_it(tmp_path: Path) -> None:
    folder_with(tmp_path / "base", "license: mit")
    (tmp_path / "base" / "model.gguf").write_bytes(b"GGUF")
    assert origin_of(Checkpoint(str(tmp_path / "base" / "model.gguf"), True, None, None), []).license == "mit"


def test_the_card_of_a_hub_model_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with(tmp_path / "base", "license: mit")
    found: dict[str, Any] = {"owner/small": str(tmp_path / "base" / "README.md"), "owner/bare": None}

    def cached_file(name: str, file: str, **_: Any) -> Any:
        assert file == "README.md"
        if name not in found:
            raise OSError("offline")
        return found[name]

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    licences = [
        origin_of(Checkpoint(f"owner/{name}", False, None, None), []).license for name in ("small", "bare", "x")
    ]
    assert licences == ["mit", "other", "other"]


def test_data_sets_of_the_hub_are_named_once(tmp_path: Path) -> None:
    start = folder_with(tmp_path / "base", "datasets: [owner/words, owner/shop]")
    paths = ["hf://datasets/owner/shop/a.parquet", "hf://datasets/owner/more@main/b.parquet", str(tmp_path / "c.csv")]
    inputs = {f"t{n}": {"path": path, "bytes": 1, "sha256": "0"} for n, path in enumerate(paths)}
    manifest = replace(EXTENDED, inputs=inputs)
    assert origin_of(start, [manifest]).datasets == ["owner/words", "owner/shop", "owner/more"]
    assert origin_of(folder_with(tmp_path / "b", "datasets: words"), []).datasets == []
