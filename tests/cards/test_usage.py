"""The words of the card's example, against the prompts that the model was trained with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gti_cli.cards.usage import usage_of
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.prompts.next_item import encode_history
from gti_cli.workspace import Workspace
from tests.support.evaluation import make_world
from tests.support.prompts import encode_query


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(
    ("tasks", "task"),
    [(["next-item"], "next-item"), (["search", "next-item:0.5"], "next-item"), (["search:1", "lc-rec:2"], "search")],
)
def test_the_prompt_is_that_of_training(tmp_path: Path, tasks: list[str], task: str, chat: bool) -> None:
    space = Workspace(make_world(tmp_path).workspace)
    folder, manifest = space.path("finetuned"), space.manifest("finetuned")
    if not chat:
        (folder / "chat_template.jinja").unlink()
    assert manifest is not None
    usage = usage_of(folder, replace(manifest, options={"tasks": tasks}))
    assert usage is not None and usage.task == task and usage.special_tokens == (not chat)
    tokenizer = load_tokenizer(str(folder))
    prompt = usage.before + usage.example + usage.behind
    ids = tokenizer(prompt, add_special_tokens=usage.special_tokens)["input_ids"]
    if task == "next-item":
        assert usage.example == "<a_0><b_0><c_0><a_3><b_2><c_4>"  # the first and the last code of each level
        assert ids == encode_history(tokenizer, ["<a_0><b_0><c_0>", "<a_3><b_2><c_4>"])
    else:
        assert ids == encode_query(tokenizer, usage.example)
    assert usage.answer_tokens == 3


@pytest.mark.parametrize("change", [{"command": "extend"}, {"command": "ground"}, {"options": {"tasks": ["lc-rec"]}}])
def test_a_model_that_does_not_answer_with_items_has_no_example(tmp_path: Path, change: dict[str, Any]) -> None:
    space = Workspace(make_world(tmp_path).workspace)
    manifest = space.manifest("finetuned")
    assert manifest is not None and usage_of(space.path("finetuned"), replace(manifest, **change)) is None
