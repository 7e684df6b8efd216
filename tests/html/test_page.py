"""The shell of pages: escaping, embedded pictures, no resource from outside."""

from __future__ import annotations

import base64
from pathlib import Path

from gti_cli.html.page import embed, embed_file, make_environment, render_page
from tests.support.html import PageReader
from tests.support.pages import png


def test_a_picture_is_embedded_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    picture = embed_file(tmp_path / "a.png")
    assert picture is not None and (picture.width, picture.height) == (7, 3)
    assert base64.b64decode(picture.source.partition("base64,")[2]) == png()


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    assert embed_file(tmp_path / "absent.png") is None
    assert embed(b"<svg/>") is None
    assert embed(png()[:20]) is None


def test_the_shell_is_whole_and_its_parts_escape_what_they_show() -> None:
    source = """{% extends "base.html.jinja" %}{% from "parts.html.jinja" import facts, header, figure %}
    {% block title %}{{ name }}{% endblock %}{% block content %}{{ facts([(name, name)]) }}
    <table>{{ header([name, "b"], ["b"]) }}</table>{{ figure(picture, name, name) }}{{ 0.5 | percent }}{% endblock %}"""
    name = "<b>\u05d0 & \U0001f457</b>"
    page = make_environment([]).from_string(source).render(name=name, picture=embed(png()))
    reader = PageReader(page)
    assert reader.text.count(name) == 6 and "<b>" not in page
    assert reader.pictures == [name]
    assert 'lang="en"' in page and 'name="viewport"' in page and "50 %" in reader.text
    assert all(link.startswith("data:") for link in reader.links) and "script" not in reader.tags
    assert reader.headings == []
    assert "@import" not in page and "url(" not in page


def test_templates_of_a_room_stand_in_the_shell() -> None:
    page = render_page(["gti_cli.html"], "base.html.jinja")
    assert "prefers-color-scheme: dark" in page and PageReader(page).tags[:2] == ["html", "head"]
