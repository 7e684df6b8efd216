"""The reference at /docs: every public route and field of the OpenAPI document, and nothing that runs."""

from __future__ import annotations

import re
from html import unescape

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")
from fastapi.testclient import TestClient

from gti_cli.serving.page.reference import objects_of, routes_of, type_in_words
from tests.support.page import shop_app


def test_every_public_route_and_field_is_on_the_page() -> None:
    app = shop_app()
    with TestClient(app, base_url="http://localhost") as client:
        answer = client.get("/docs")
    document = app.openapi()
    public = [path for path in document["paths"] if not path.startswith("/page/")]
    assert {"/recommend", "/search", "/items/{item_id}", "/similar/{item_id}", "/reload", "/health"} <= set(public)
    text = unescape(answer.text)
    for path in public:
        for method, operation in document["paths"][path].items():
            assert f"<code>{method.upper()} {path}</code>" in text
            assert operation["description"] in text
    for name in ("RecommendRequest", "RecommendedItems", "RecommendedItem"):
        for field, schema in document["components"]["schemas"].get(name, {}).get("properties", {}).items():
            assert f"<code>{field}</code>" in text and schema.get("description", "") in text, (name, field)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'none'" in policy and "<script" not in answer.text
    assert not re.findall(r"(?:https?:)?//[a-z]", answer.text)


def test_objects_within_objects_are_listed_once() -> None:
    item = {"properties": {"rank": {"type": "integer", "default": 1}}}
    document = {
        "paths": {
            "/a": {
                "get": {
                    "summary": "A",
                    "responses": {
                        "200": {
                            "description": "",
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/List"}}},
                        }
                    },
                }
            },
            "/page/b": {"get": {"summary": "B", "responses": {}}},
        },
        "components": {
            "schemas": {
                "List": {"properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}}},
                "Item": item,
                "Unused": item,
            }
        },
    }
    routes = routes_of(document)
    assert [(route.path, route.answered) for route in routes] == [("/a", "List")]
    found = objects_of(document, routes)
    assert list(found) == ["List", "Item"]
    assert found["List"][0].type == "list of Item" and found["Item"][0].default == "1"
    assert type_in_words({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "string or null"
