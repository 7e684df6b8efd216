from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.serving.access import read_keys
from tests.support.serving import served

FIRST, SECOND = "0123456789abcdef-first", "0123456789abcdef-second"


def test_a_request_needs_one_of_the_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# the shop\n{FIRST}\n\n {SECOND} \n")

    async def work() -> None:
        async with served(api_key_file=tmp_path / "keys") as server:

            async def ask(path: str = "/items/i1", **headers: str) -> int:
                return (await server.client.get(path, headers=headers)).status_code

            assert await ask() == 401
            assert await ask(Authorization=f"Bearer {FIRST}") == 200
            assert [await ask(**{"X-API-Key": key}) for key in (FIRST, SECOND)] == [200, 200]
            for wrong in (FIRST[:-1], FIRST + "x", FIRST.upper(), "", "\xff"):
                headers: Any = {b"X-API-Key": wrong.encode("latin-1")}
                assert (await server.client.get("/items/i1", headers=headers)).status_code == 401
            assert await ask(Authorization=f"Basic {FIRST}") == 401
            assert await ask("/health") == 200  # what watches the server needs no key
            assert await ask("/") == 200  # the page, which holds no data
            for path in ("/metrics", "/similar/i1", "/page/about"):
                assert await ask(path) == 401
            refused = await server.client.post("/recommend", json={"history": ["i1"]})
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            document = (await server.client.get("/openapi.json")).json()
            assert document["paths"]["/recommend"]["post"]["security"]
            assert document["paths"]["/health"]["get"].get("security") is None

    asyncio.run(work())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no key in the file"),
        (b"# only a remark\n", "no key in the file"),
        (b"\nshort\n", "line 2: a key is shorter than 16"),
        ("schlüssel-schlüssel".encode(), "line 1: a key has letters"),
        (b"two words in one line", "line 1: a key has letters"),
        (b"\xff\xfe\x00", "cannot read the keys"),
    ],
)
def test_files_of_keys_that_cannot_be_used(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_keys(path)
    assert words in str(refused.value)
    assert "short\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the keys"):
        read_keys(tmp_path / "none")
