"""The catalogue for NVIDIA's sid-gr-inference (``recsys-examples``): JSON lines with the token ids of each item."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.exporting.engine_catalogue import EngineCatalogue, WrittenFile
from gti_cli.workspace.files import replacing

ALLOW_SHARED = "--catalog-allow-duplicate-token-paths"


def write_lines(path: Path, catalogue: EngineCatalogue) -> list[WrittenFile]:
    """Write ``{"item_id": …, "token_ids": […], "metadata": {"title": …}}`` for each item, in catalogue order.

    Args:
        path: The file, written under a temporary name and renamed.
        catalogue: The catalogue, with the token ids of a checkpoint.

    Raises:
        InputError: When there is no checkpoint, or a token id is none of its model's.
    """
    if catalogue.token_ids is None:
        raise InputError(
            "sid-gr-inference reads the token ids of a checkpoint, and none was given",
            remedy="name it: 'gti export catalog CKPT --engine nvidia -o FILE'",
        )
    tokens = catalogue.item_tokens()
    if int(tokens.max()) >= catalogue.vocabulary:
        raise InputError(
            f"the token id {int(tokens.max())} is none of the model, whose vocabulary has {catalogue.vocabulary:,}",
            remedy="the tokenizer and the config.json of the checkpoint do not belong together: write it again",
        )
    titles = catalogue.titles
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row, (item, ids) in enumerate(zip(catalogue.item_ids, tokens.tolist(), strict=True)):
            metadata = {} if titles is None else {"metadata": {"title": titles[row]}}
            line = {"item_id": item, "token_ids": ids, **metadata}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return [WrittenFile(path, "token ids of each item", len(catalogue.item_ids))]


def server_command(model: str, path: Path, catalogue: EngineCatalogue) -> str:
    """Return the command that serves a checkpoint, run in the folder of ``sid-gr-inference``.

    Args:
        model: Folder of the checkpoint.
        path: The file that `write_lines` wrote.
        catalogue: The catalogue in it.
    """
    words = ["python tools/serve_qwen3_gr_http.py --decode-backend real --model-dir", shlex.quote(model)]
    words += ["--catalog-jsonl", shlex.quote(str(path)), "--catalog-vocab-size", str(catalogue.vocabulary)]
    words += ["--decode-steps", str(catalogue.levels), "--context-len TOKENS_OF_THE_LONGEST_PROMPT"]
    shared = len(catalogue.item_ids) - catalogue.semantic_ids
    if shared:
        console.note(
            f"{shared:,} items share the semantic ID of another: the engine refuses that without {ALLOW_SHARED}, and "
            "with it answers with all items of an ID"
        )
        words.append(ALLOW_SHARED)
    return " ".join(words)
