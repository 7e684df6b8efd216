"""Checkpoints and workspaces with damaged files, or with other values in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.bad_input.case import Case, Damaged, Edited
from tests.support.bad_input.values import JSON_TEXTS

CHECKPOINT = ["extend", "--model", "base", "-w", "ws", "--name", "more", "--no-effect", "--device", "cpu", "--force"]

SPACE_FILES = {
    "ws/semantic_ids.json": ["export", "index", "-w", "ws", "-o", "index.json"],
    "ws/semantic_ids.parquet": ["export", "index", "-w", "ws", "-o", "index.json"],
    "ws/extended/gti.json": ["diagnose", "extended", "-w", "ws", "--device", "cpu"],
    "ws/extended/new_tokens.parquet": ["diagnose", "extended", "-w", "ws", "--device", "cpu"],
    "ws/extended/model.safetensors": ["diagnose", "extended", "-w", "ws", "--device", "cpu"],
    "ws/codebooks.safetensors": ["diagnose", "extended", "-w", "ws", "--device", "cpu"],
    "ws/extended/tokenizer.json": ["recommend", "extended", "-w", "ws", "--history", "i1,i2", "--k",
    "2", "--device", "cpu"],
}  # fmt: skip


def json_cases() -> Iterator[Case]:
    """Wordings for `ground --prompts`."""
    command = ["ground", "-w", "ws", "--prompts", "in.json", "--max-steps", "1", "--held-out", "0", "--device", "cpu"]
    wrong = [
        *JSON_TEXTS, '{"system": 1}', '{"system": null}', '{"text->tokens": []}', '{"text->tokens": {"title": "x"}}',
        '{"text->tokens": {"title": "{text}{text}"}}', '{"x\\u0000\\u001b[31m": 1}', '{"tokens->text": {"title": {}}}',
        '{"text->tokens": {"no": "{text}"}}', '{"text->tokens": {"title": 5}}', '{"system": "\\ud800"}',
    ]  # fmt: skip
    for n, text in enumerate(wrong):
        yield Case(
            f"prompts {n} {text[:20]!r}", command, {"in.json": text.encode("utf-8", "surrogatepass")}, names="in.json"
        )


def checkpoint_cases(rng: random.Random) -> Iterator[Case]:
    """Base models whose files are damaged, or hold other values than they should."""
    for path in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        for n, text in enumerate(JSON_TEXTS):
            yield Case(f"{path} {n}", CHECKPOINT, {f"base/{path}": text.encode("utf-8", "surrogatepass")}, names="base")
    # Values of single keys are put in when the case is written, since they need the file: see `Edited`.
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "model_type",
        "dtype", "architectures",
                "tie_word_embeddings", "max_position_embeddings", "head_dim", "num_key_value_heads", "rms_norm_eps",
                "rope_parameters", "eos_token_id", "hidden_act", "quantization_config", "auto_map"):  # fmt: skip
        for value in (None, -1, 0, 2**40, "x", [], {}, 1.5, True):
            yield Edited(
                f"config.json {key}={value!r}",
                CHECKPOINT,
                names="base",
                path="base/config.json",
                keys=[key],
                value=value,
            )
    for keys in (["model"], ["model", "vocab"], ["model", "merges"], ["model", "type"],
        ["added_tokens"], ["normalizer"],
                 ["pre_tokenizer"], ["decoder"], ["post_processor"], ["version"]):  # fmt: skip
        for value in (None, -1, "x", [], {}, [None], {"type": "x"}):
            yield Edited(
                f"tokenizer.json {keys}={value!r}",
                CHECKPOINT,
                names="base",
                path="base/tokenizer.json",
                keys=keys,
                value=value,
            )
    for key in (
        "tokenizer_class",
        "eos_token",
        "pad_token",
        "chat_template",
        "model_max_length",
        "added_tokens_decoder",
        "auto_map",
    ):
        for value in (None, -1, "x", [], {}, "{{ 1/0 }}", "{% for %}", {"0": 1}):
            yield Edited(
                f"tokenizer_config {key}={value!r}",
                CHECKPOINT,
                names="base",
                path="base/tokenizer_config.json",
                keys=[key],
                value=value,
            )
    yield from _safetensors_cases("base/model.safetensors", CHECKPOINT, rng)


def _safetensors_cases(path: str, command: list[str], rng: random.Random) -> Iterator[Case]:
    """Headers that claim what is not there, and files that are cut."""

    def headed(header: bytes, length: int | None = None) -> Callable[[bytes], bytes]:
        return lambda _: (len(header) if length is None else length).to_bytes(8, "little") + header

    def changed(edit: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
        def change(content: bytes) -> bytes:
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            edit(header)
            text = json.dumps(header).encode()
            return len(text).to_bytes(8, "little") + text + content[8 + size :]

        return change

    def first(header: dict[str, Any]) -> dict[str, Any]:
        return next(entry for name, entry in header.items() if name != "__metadata__")

    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda _: b"",
        "terabytes of header": headed(b"{}", 2**42),
        "largest header": headed(b"{}", 2**64 - 1),
        "a header of 90 MB": headed(b"{}", 90_000_000),
        "no json": headed(b"xxxx"),
        "deep json": headed(b"[" * 50_000),
        "a list": headed(b"[]"),
        "no tensor": headed(b"{}"),
        "terabytes of tensor": changed(lambda h: first(h).update(shape=[2**40, 64])),
        "terabytes of offsets": changed(lambda h: first(h).update(data_offsets=[0, 2**45])),
        "all terabytes": changed(lambda h: first(h).update(shape=[2**40, 64], data_offsets=[0, 2**48])),
        "negative": changed(lambda h: first(h).update(shape=[-1, 64])),
        "backwards": changed(lambda h: first(h).update(data_offsets=[64, 0])),
        "no shape": changed(lambda h: first(h).pop("shape")),
        "text shape": changed(lambda h: first(h).update(shape="x")),
        "float shape": changed(lambda h: first(h).update(shape=[1.5])),
        "huge int": changed(lambda h: first(h).update(shape=[10**30])),
        "no dimension": changed(lambda h: first(h).update(shape=[])),
        "other dtype": changed(lambda h: first(h).update(dtype="I64")),
        "unknown dtype": changed(lambda h: first(h).update(dtype="X9")),
        "null dtype": changed(lambda h: first(h).update(dtype=None)),
        "null metadata": changed(lambda h: h.update(__metadata__=None)),
        "other names": changed(lambda h: h.update({f"x{k}": h.pop(k) for k in list(h) if k != "__metadata__"})),
        "odd name": changed(lambda h: h.update({"\x1b[31m\x00": h.pop(next(k for k in h if k != "__metadata__"))})),
        "pickle": lambda _: b"\x80\x04\x95\x00",
    }
    for name, change in changes.items():
        yield Damaged(f"{path} {name}", command, names=path.rpartition("/")[0], path=path, change=change)
    for n in range(6):
        part, flip = rng.random(), rng.random()
        yield Damaged(
            f"{path} cut {n}",
            command,
            names=path.rpartition("/")[0],
            path=path,
            change=lambda c, p=part: c[: int(len(c) * p)],
        )  # type: ignore[misc]
        at = lambda c, f=flip: int(min(len(c), 3000) * f)  # noqa: E731
        yield Damaged(
            f"{path} flipped {n}", command, names="",
            path=path, change=lambda c, at=at: bytes([*c[: at(c)], c[at(c)] ^ 64, *c[at(c) + 1 :]]),  # type: ignore[misc]
        )  # fmt: skip


def space_cases(rng: random.Random) -> Iterator[Case]:
    """Files of a workspace that somebody has changed; the manifests' digests find most of it."""
    for path, command in SPACE_FILES.items():
        for n in range(5):
            part, bit = rng.random(), 1 << rng.randrange(8)
            yield Damaged(f"{path} cut {n}", command, path=path, change=lambda c, p=part: c[: int(len(c) * p)])  # type: ignore[misc]
            yield Damaged(
                f"{path} flipped {n}", command, path=path,
                change=lambda c, p=part, b=bit: bytes([*c[: int(len(c) * p)], c[int(len(c) * p)] ^ b,
                    *c[int(len(c) * p) + 1 :]]),  # type: ignore[misc]
            )  # fmt: skip
        if path.endswith(".json"):
            for n, text in enumerate(JSON_TEXTS):
                yield Case(f"{path} {n}", command, {path: text.encode("utf-8", "surrogatepass")})
    for keys in (
        ["outputs"],
        ["options"],
        ["counts"],
        ["details"],
        ["details", "sizes"],
        ["name"],
        ["run"],
        ["upstream"],
        ["request"],
    ):
        for value in (None, -1, "x", [], {}, {"../x": "y"}, [None], 2**70):
            path = "ws/semantic_ids.json"
            yield Edited(f"{path} {keys}={value!r}", SPACE_FILES[path], path=path, keys=keys, value=value)
