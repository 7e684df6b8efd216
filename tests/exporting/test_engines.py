from __future__ import annotations

import pytest

from gti_cli.errors import InputError
from gti_cli.exporting.engines import ENGINES, TITLES, check_engine, check_model


def test_engines_have_titles_and_others_are_refused() -> None:
    assert set(TITLES) == set(ENGINES)
    for engine in (None, *ENGINES):
        check_engine(engine)
    with pytest.raises(InputError, match=r"'vllm' is not known\. Use flashrec, nvidia, xllm, static"):
        check_engine("vllm")


@pytest.mark.parametrize(
    ("engine", "kind", "refused"),
    [
        ("flashrec", "qwen3", ""),
        ("flashrec", "qwen3_moe", "'qwen3' alone to a catalogue, and this one is 'qwen3_moe'.*gti serve"),
        ("nvidia", "llama", "NVIDIA sid-gr-inference.*'llama'"),
        ("xllm", "onerec", ""),
        ("xllm", "qwen3", "'onerec' alone.*Leave CKPT out"),
        ("static", "llama", ""),
        (None, "llama", ""),
        ("flashrec", None, ""),
    ],
)
def test_a_model_is_refused_where_the_engine_does_not_serve_it(engine: str | None, kind: str, refused: str) -> None:
    if not refused:
        return check_model(engine, kind, "ws/lm")
    with pytest.raises(InputError, match=f"^ws/lm: .*{refused}"):
        check_model(engine, kind, "ws/lm")
    return None
