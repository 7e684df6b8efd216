"""Reading an adapter's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.checkpoints.adapters.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    find_adapter,
    is_adapter,
    names_adapter,
    peft_errors,
    read_adapter,
)
from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from tests.support.adapters import write_adapter
from tests.support.models import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that trained rows of tokens, beside its base ``base``."""
    root = tmp_path_factory.mktemp("adapter")
    make_model(vocab_size=48).save_pretrained(root / "base")
    write_adapter(root / "base", root / "adapter", trainable_token_indices={"embed_tokens": [3, 5], "lm_head": [5, 7]})
    return root / "adapter"


def copied(folder: Path, target: Path, **changes: object) -> Path:
    target.mkdir()
    config = {**json.loads((folder / ADAPTER_CONFIG).read_text("utf-8")), **changes}
    (target / ADAPTER_CONFIG).write_text(json.dumps(config), "utf-8")
    (target / ADAPTER_WEIGHTS).write_bytes((folder / ADAPTER_WEIGHTS).read_bytes())
    return target


def test_an_adapter_says_its_base_its_kind_and_its_tokens(folder: Path) -> None:
    adapter = read_adapter(folder)
    assert adapter.base_name == str(folder.parent / "base")
    assert adapter.kind == "LORA"
    assert adapter.token_indices == {3, 5, 7}
    assert any(name.endswith("q_proj.lora_A.weight") for name in adapter.tensors)


def test_adapters_and_models_are_told_apart(folder: Path, tmp_path: Path) -> None:
    assert is_adapter(folder)
    assert not is_adapter(folder.parent / "base")
    both = copied(folder, tmp_path / "both")
    (both / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="a whole model and an adapter"):
        is_adapter(both)


def test_pickled_and_missing_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = copied(folder, tmp_path / "broken")
    (broken / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(InputError, match="has no weights"):
        read_adapter(broken)
    (broken / "adapter_model.bin").write_bytes(b"a pickle that would run")
    with pytest.raises(InputError, match=r"pickled \(adapter_model\.bin\); gti never unpickles"):
        read_adapter(broken)


def test_what_peft_cannot_read_or_merge_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"peft cannot read its adapter_config\.json"):
        read_adapter(copied(folder, tmp_path / "unknown", peft_type="NO_SUCH_KIND"))
    prompt = copied(folder, tmp_path / "prompt", peft_type="PROMPT_TUNING", num_virtual_tokens=2)
    with pytest.raises(InputError, match="PROMPT_TUNING adds tokens to the prompt"):
        read_adapter(prompt)
    (tmp_path / "prompt" / ADAPTER_CONFIG).write_text("{", "utf-8")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_adapter(prompt)


def test_a_lack_of_memory_is_no_fault_of_the_adapter(folder: Path) -> None:
    from torch import OutOfMemoryError

    with pytest.raises(OutOfMemoryError), peft_errors(folder, "base"):
        raise OutOfMemoryError("no memory")
    with pytest.raises(InputError, match="does not fit its base base: no such layer"), peft_errors(folder, "base"):
        raise ValueError("no such layer")


def test_a_name_means_what_the_workspace_has_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, here = Workspace(tmp_path / "ws"), tmp_path / "here"
    for folder in (space.path("both"), here / "both", here / "only-here", here / "whole"):
        folder.mkdir(parents=True)
        (folder / ADAPTER_CONFIG).write_text("{}")
    space.path("whole").mkdir()
    (space.path("whole") / CHECKPOINT_MANIFEST).write_text("{}")
    monkeypatch.chdir(here)
    assert find_adapter(space, "both") == space.path("both")
    assert find_adapter(space, "./both") == Path("both")  # a path, not a name
    assert find_adapter(space, "only-here") == Path("only-here")
    assert find_adapter(space, "whole") is None and not names_adapter(space, "whole")
    assert find_adapter(space, "./whole") == Path("whole") and names_adapter(space, "./whole")
