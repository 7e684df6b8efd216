"""The page's file and headers, and the routes that it asks."""

from __future__ import annotations

import base64
import gc
import hashlib
import math
import re
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")
from fastapi import FastAPI
from fastapi.testclient import TestClient

import gti_cli.html
from gti_cli.serving import app as app_module
from gti_cli.serving import page_routes
from gti_cli.serving.page.answers import FIRST_CHOICES
from tests.support.page import HOSTILE, SHOP, ShopRecommender, shop_app

PAGE = Path(page_routes.__file__).parent / "page" / "index.html"


@pytest.fixture
def shop() -> Iterator[Any]:
    with TestClient(shop_app(), base_url="http://localhost") as client:
        yield client


def test_the_page_may_run_its_own_script_and_style_and_load_nothing_from_outside(shop: Any) -> None:
    answer = shop.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'" and policy["img-src"] == "data:"
    assert set(policy) == {
        *("default-src", "frame-ancestors", "form-action", "base-uri"),
        *("connect-src", "img-src", "style-src", "script-src"),
    }
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_the_file_names_no_outside_address_and_writes_no_html_from_data() -> None:
    page = PAGE.read_text("utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of the namespace, which nobody fetches
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "srcdoc",
        "@import",
    ):
        assert way not in page, way
    assert "url(" not in page and "localStorage" not in page and "cookie" not in page
    markup = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    # The Content-Security-Policy would block handlers and styles in attributes.
    assert not re.search(r"<[^>]*\s(on\w+|style|src)=", markup)


def test_its_colours_are_those_of_the_other_pages() -> None:
    css = (Path(gti_cli.html.__file__).parent / "templates" / "page.css").read_text("utf-8")
    page = PAGE.read_text("utf-8")
    light, dark = (match[0] for match in re.finditer(r":root \{[^}]*--paper: #(?:fff; --ink: #1|15)[^}]*\}", css))
    assert light in page and dark in page and page.count("--paper: #") == 2


def test_what_is_loaded(shop: Any) -> None:
    about = shop.get("/page/about").json()
    assert (about["name"], about["items"], about["levels"], about["is_blend"]) == ("finetuned", 8, [3, 3, 4], False)
    assert len({item["item_id"] for item in about["examples"]}) == FIRST_CHOICES


def test_items_have_titles_and_codes_and_unknown_ones_are_left_out(shop: Any) -> None:
    answer = shop.post("/page/items", json={"item_ids": ["R6", "nobody", "R5", "R7/x"]}).json()
    assert answer["total"] == 3
    assert [item["title"] for item in answer["items"]] == [HOSTILE, "R5", "Black Boots"]  # R5 has no title
    assert answer["items"][0]["codes"] == ["<a_2>", "<b_3>", "<c_9>"]
    for body in ({"item_ids": ["R1"] * 501}, {"item_ids": [""]}, {"item_ids": "R1"}, {"item_ids": [], "more": 1}):
        answer = shop.post("/page/items", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(("item_ids", "body: There is no field 'more' here"))


def test_words_find_items_and_at_most_twenty_are_listed(shop: Any) -> None:
    answer = shop.get("/page/find", params={"q": "jack denim"}).json()
    assert [item["item_id"] for item in answer["items"]] == ["R1", "R2"] and answer["total"] == 2
    assert shop.get("/page/find", params={"q": "x" * 201}).status_code == 422
    many = ShopRecommender(shop={f"i{n}": ("same words", "<a_1><b_1><c_1>") for n in range(30)})
    with TestClient(shop_app(many), base_url="http://localhost") as client:
        answer = client.get("/page/find", params={"q": "same"}).json()
        assert (answer["total"], len(answer["items"])) == (30, 20)
        tree = client.get("/page/tree", params={"prefix": "<a_1><b_1><c_1>"}).json()
        assert (tree["items"], len(tree["found"]), tree["branches"]) == (30, 30, 0)


def test_why_has_the_parts_of_the_score_and_the_codes_that_are_shared(shop: Any) -> None:
    listed = shop.post("/recommend", json={"history": ["R4", "R1"], "k": 8}).json()["items"]
    score = next(item["score"] for item in listed if item["item_id"] == "R3")
    answer = shop.post("/page/why", json={"history": ["R4", "R1"], "item_id": "R3"}).json()
    assert [level["code"] for level in answer["levels"]] == ["<a_1>", "<b_2>", "<c_1>"]
    assert math.isclose(sum(level["log_probability"] for level in answer["levels"]), score)
    same = {item["item_id"]: item["same"] for item in answer["history"]}
    assert same == {"R4": [False, False, True], "R1": [True, False, True]}
    for body, words in [
        ({"history": ["R1"], "item_id": "R99"}, "'R99'"),
        ({"history": ["R1", "R98"], "item_id": "R1"}, "'R98'"),
        ({"history": [], "item_id": "R1"}, "history"),
        ({"history": ["R1"] * 1001, "item_id": "R1"}, "history"),
    ]:
        refused = shop.post("/page/why", json=body)
        assert refused.status_code == 422 and words in refused.json()["detail"]


def test_a_blend_has_no_parts() -> None:
    with TestClient(shop_app(ShopRecommender(is_blend=True)), base_url="http://localhost") as client:
        assert client.get("/page/about").json()["is_blend"] is True
        answer = client.post("/page/why", json={"history": ["R1"], "item_id": "R2"}).json()
        assert answer["levels"] == [] and answer["history"][0]["same"] == [True, True, False]


def test_the_tree_unfolds_level_by_level(shop: Any) -> None:
    whole = shop.get("/page/tree").json()
    assert [(branch["code"], branch["items"]) for branch in whole["shown"]] == [
        ("<a_1>", 3),
        ("<a_2>", 3),
        ("<a_10>", 2),
    ]
    assert [item["title"] for item in whole["shown"][2]["examples"]] == ["Black Boots", "Black Ankle Boots"]
    below = shop.get("/page/tree", params={"prefix": "<a_2>", "start": 1}).json()
    assert (below["prefix"], below["items"], below["branches"]) == (["<a_2>"], 3, 2)
    assert [branch["code"] for branch in below["shown"]] == ["<b_3>"]
    both = shop.get("/page/tree", params={"prefix": "<a_2><b_1><c_1>"}).json()
    assert [item["item_id"] for item in both["found"]] == ["R4", "R5"]
    refused = shop.get("/page/tree", params={"prefix": "<a_7>"})
    assert refused.status_code == 422 and "begins with '<a_7>'" in refused.json()["detail"]


def test_an_explanation_waits_in_the_queue_no_longer_than_a_list() -> None:
    recommender = ShopRecommender()
    body = {"history": ["R1"], "item_id": "R2"}
    with TestClient(shop_app(recommender, timeout=0.2), base_url="http://localhost") as client:
        recommender.gate.clear()
        answer = client.post("/page/why", json=body)
        assert answer.status_code == 504 and "0.2 seconds" in answer.json()["detail"]
        recommender.gate.set()
        assert client.post("/page/why", json=body).status_code == 200


def test_few_explanations_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "_MOST_EXPLANATIONS", 1)
    recommender = ShopRecommender()
    recommender.gate.clear()
    body = {"history": ["R1"], "item_id": "R2"}
    with TestClient(shop_app(recommender), base_url="http://localhost") as client:
        first: list[int] = []
        thread = threading.Thread(target=lambda: first.append(client.post("/page/why", json=body).status_code))
        thread.start()
        assert recommender.entered.wait(10)
        busy = client.post("/page/why", json=body)
        recommender.gate.set()
        thread.join()
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1") and "explained" in busy.json()["detail"]
    assert first == [200]


def test_after_a_reload_the_new_catalogue_answers_and_the_old_one_leaves_the_memory() -> None:
    loaded = [ShopRecommender("old")]
    app = FastAPI()
    page_routes.add_page_routes(app, lambda: loaded[0], None)  # type: ignore[arg-type]
    client = TestClient(app)
    assert client.get("/page/about").json()["name"] == "old"
    old = weakref.ref(loaded[0])
    loaded[0] = ShopRecommender("new", shop={**SHOP, "N1": ("Newcomer", "<a_3><b_0><c_0>")})
    assert client.get("/page/find", params={"q": "newc"}).json()["total"] == 1
    assert client.get("/page/about").json()["items"] == 9
    gc.collect()
    assert old() is None


def test_a_key_is_asked_for_everything_but_the_page(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with TestClient(shop_app(api_key_file=keys), base_url="http://localhost") as client:
        assert client.get("/").status_code == 200
        for path in ("/page/about", "/page/find?q=a", "/page/tree"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer 0123456789abcdef"}).status_code == 200
        assert client.post("/page/why", json={"history": ["R1"], "item_id": "R2"}).status_code == 401
        assert client.post("/page/items", json={"item_ids": []}).status_code == 401
