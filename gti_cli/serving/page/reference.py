"""The page at ``/docs``: what the server answers, made from its own OpenAPI document, without a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gti_cli.html.page import make_environment

_OF_THE_PAGE = "/page/"  # routes that the page at / asks; nobody else needs them


@dataclass(frozen=True)
class Field:
    """A field of a body, or a parameter.

    Attributes:
        name: Its name.
        type: In words, such as ``list of string``.
        default: As JSON has it; "" where there is none.
        description: A sentence.
    """

    name: str
    type: str
    default: str
    description: str


@dataclass(frozen=True)
class Route:
    """A route.

    Attributes:
        method: ``GET`` or ``POST``.
        path: With the names of parameters in braces.
        description: What it does.
        asked: Parameters and the fields of the body.
        answers: Code and meaning of each answer.
        answered: Name of what a successful answer holds; "" where it is no JSON object.
    """

    method: str
    path: str
    description: str
    asked: list[Field]
    answers: list[tuple[str, str]]
    answered: str


def render_reference(document: Mapping[str, Any]) -> str:
    """Render the page.

    Args:
        document: The server's OpenAPI document.
    """
    template = make_environment(["gti_cli.serving.page"]).get_template("reference.html.jinja")
    routes = routes_of(document)
    return template.render(info=document["info"], routes=routes, objects=objects_of(document, routes))


def routes_of(document: Mapping[str, Any]) -> list[Route]:
    """List the routes of a document, without those of the page at ``/``."""
    return [
        _route(method.upper(), path, operation, document)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not path.startswith(_OF_THE_PAGE)
    ]


def objects_of(document: Mapping[str, Any], routes: list[Route]) -> dict[str, list[Field]]:
    """List the fields of every object that a route takes or gives, and of those within them."""
    schemas = document.get("components", {}).get("schemas", {})
    wanted = " ".join([*(route.answered for route in routes), *(f.type for route in routes for f in route.asked)])
    found: dict[str, list[Field]] = {}
    while missing := [name for name in schemas if name in _words(wanted) and name not in found]:
        found |= {name: _fields(schemas[name]) for name in missing}
        wanted = " ".join(field.type for fields in found.values() for field in fields)
    return found


def _words(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


def _route(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Route:
    asked = [
        Field(given["name"], type_in_words(given["schema"]), _default(given["schema"]), given.get("description", ""))
        for given in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        schema = document["components"]["schemas"][_name(body["$ref"])] if "$ref" in body else body
        asked += _fields(schema)
    answers = [(code, answer["description"]) for code, answer in sorted(operation["responses"].items())]
    given = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
    answered = type_in_words(given) if given else ""
    return Route(method, path, operation.get("description", operation["summary"]), asked, answers, answered)


def _fields(schema: Mapping[str, Any]) -> list[Field]:
    return [
        Field(name, type_in_words(one), _default(one), one.get("description", ""))
        for name, one in schema.get("properties", {}).items()
    ]


def type_in_words(schema: Mapping[str, Any]) -> str:
    """Say what a schema describes, in a few words."""
    if "$ref" in schema:
        return _name(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(type_in_words(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {type_in_words(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _default(schema: Mapping[str, Any]) -> str:
    import json

    return json.dumps(schema["default"]) if "default" in schema else ""
