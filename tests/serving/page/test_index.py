"""The page in a real browser: what somebody sees, by keyboard alone, at phone width, and when the server is busy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("uvicorn")
from fastapi import HTTPException

from gti_cli.serving.service import Service
from tests.support.browser import CHROMIUM, Browser
from tests.support.page import HOSTILE, ShopRecommender, served, shop_app

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
TITLES = "[...document.querySelectorAll('#list .title')].map((title) => title.textContent)"
FOCUS = (
    "document.activeElement.getAttribute('aria-label') || document.activeElement.id || document.activeElement.innerText"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(shop_app()) as here:
        yield here


def visit(browser: Browser, address: str, ready: str) -> None:
    browser.open("about:blank")
    browser.events.clear()
    browser.open(address)
    browser.until(f"document.readyState === 'complete' && {ready}")


def test_by_keyboard_from_a_search_to_an_explanation(browser: Browser, address: str) -> None:
    visit(browser, address, "document.querySelectorAll('#choices button').length === 6")
    assert browser.run("document.getElementById('list').childElementCount") == 0
    browser.run("document.getElementById('search').focus()")
    browser.type("denim")
    browser.until("document.querySelectorAll('#found li').length === 3")
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp"):
        browser.press(key)
    chosen = "document.getElementById(document.getElementById('search').getAttribute('aria-activedescendant'))"
    assert browser.run(f"{chosen}.innerText").startswith("Denim Skirt")
    browser.press("Enter")
    browser.until("document.querySelectorAll('#list li').length === 7")  # all but the history
    assert browser.run("document.querySelector('#history .title').textContent") == "Denim Skirt"
    assert "7 items" in browser.run("document.getElementById('state').textContent")
    # On to the first row: through the history's buttons, the two settings, to Why.
    for _ in range(12):
        browser.press("Tab")
        if browser.run(FOCUS) == "Why: Cobalt Denim Jacket":
            break
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.until("document.querySelectorAll('.levels .bar i').length === 3")
    why = browser.run("document.querySelector('.why').innerText")
    assert "<a_1>" in why and "80 %" in why and f"−{-math.log(0.8 * 0.1 * 0.8):.2f}" in why
    kinds = "[...document.querySelectorAll('#list li:first-child .sub .code')].map((code) => code.classList[1] || '')"
    assert browser.run(kinds) == ["branch", "", "alike"]
    browser.run("document.querySelector('.tools button').click()")
    browser.until("document.querySelectorAll('.similar li').length === 6")
    browser.run("document.querySelector('.similar li:last-child button').click()")
    browser.until(
        "document.querySelectorAll('#list > li').length === 6 && document.querySelectorAll('.shared li').length === 2"
    )
    assert browser.run("document.querySelectorAll('.similar li').length") == 6  # what was opened stays open
    assert browser.problems() == []
    assert {url.split("/")[2] for url in browser.requested()} == {address.split("/")[2]}


def test_html_in_a_title_stays_text(browser: Browser, address: str) -> None:
    visit(
        browser,
        f"{address}/#history=R1&history=R6&exclude=R8&repeat=yes",
        "document.querySelectorAll('#list li').length === 7",
    )
    assert HOSTILE in browser.run(TITLES)
    assert browser.run("document.querySelectorAll('#history .title')[1].textContent") == HOSTILE
    browser.run("document.querySelector('#list li:last-child .why-button').click()")
    browser.run("document.getElementById('search').focus()")
    browser.type("gown <img")
    browser.until("document.querySelectorAll('#found li').length === 1")
    browser.click("#found li")
    browser.until("document.querySelectorAll('#history li').length === 3")
    assert browser.run("document.querySelector('#found .taken').textContent") == "✓ 2 times"
    browser.run("document.getElementById('tab-tree').click()")
    browser.until("document.querySelectorAll('#tree .node').length === 3")
    browser.run("document.getElementById('tree-history').click()")
    browser.until("[...document.querySelectorAll('#tree bdi')].some((title) => title.textContent.startsWith('<img'))")
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.title") == "finetuned · gti" and browser.problems() == []


def test_the_list_follows_the_history_and_says_what_moved(browser: Browser, address: str) -> None:
    visit(browser, f"{address}/#history=R4&history=R8", "document.querySelectorAll('#list li').length === 6")
    before = browser.run(TITLES)
    assert before[0] == "Black Boots"
    browser.run("document.querySelector('[aria-label^=\"Move down: Ivory\"]').focus()")
    browser.press("Enter")
    browser.until("document.querySelectorAll('.move.seen').length > 0")
    after = browser.run(TITLES)
    assert after[0] == "R5" and browser.run(FOCUS) == "Move down: Ivory Café Dress"
    moved = browser.run(
        "[...document.querySelectorAll('#list li')].map((row) => row.querySelector('.move').innerText.trim())"
    )
    for place, title in enumerate(after):
        step = before.index(title) - place
        assert moved[place].startswith("" if not step else f"↑ {step}" if step > 0 else f"↓ {-step}")
    # What is excluded leaves the list, can be brought back, and stands in the address.
    browser.run("document.querySelector('[aria-label=\"Exclude: R5\"]').focus()")
    browser.press("Enter")
    browser.until("document.querySelectorAll('#list li').length === 5")
    assert "R5" not in browser.run(TITLES)
    assert browser.run("location.hash") == "#history=R8&history=R4&exclude=R5"
    # So do the only items that may be recommended; what the server says of them is shown.
    browser.run("document.querySelector('#only').value = ' R1\\nR6\\n\\n'; document.querySelector('#only').onchange()")
    browser.until("document.querySelectorAll('#list li').length === 2")
    assert sorted(browser.run(TITLES)) == sorted([HOSTILE, "Cobalt Denim Jacket"])
    assert browser.run("location.hash") == "#history=R8&history=R4&exclude=R5&only=R1&only=R6"
    browser.run("document.querySelector('#only').value = 'R99'; document.querySelector('#only').onchange()")
    browser.until("document.querySelector('#refused').innerText.includes(\"'R99'\")")
    browser.run("document.querySelector('#only').value = ''; document.querySelector('#only').onchange()")
    browser.until("document.querySelectorAll('#list li').length === 5")
    browser.run("document.querySelector('[aria-label=\"Bring back: R5\"]').click()")
    browser.until("document.querySelectorAll('#list li').length === 6")
    browser.run("document.querySelector('[aria-label=\"Take out: Ivory Café Dress\"]').focus()")
    browser.press(" ")
    browser.until("document.querySelectorAll('#list li').length === 7")
    assert browser.run(FOCUS) == "Take out: Black Ankle Boots"  # the focus is not lost with the row


def test_at_phone_width_nothing_is_wider_than_the_screen(browser: Browser, address: str) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    for view, ready in (
        ("lists", "document.querySelector('#list li')"),
        ("tree", "document.querySelector('#tree .node')"),
    ):
        # The list and the tree come in answers of their own, in any order.
        both = f"{ready} && document.querySelector('.why-button') && document.getElementById('tree-history')"
        visit(browser, f"{address}/#history=R6&view={view}", both)
        browser.run("document.querySelector('.why-button').click(); document.getElementById('tree-history').click()")
        browser.until("document.querySelector('.why .shared')")
        assert browser.run("document.documentElement.scrollWidth") == 390
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_busy_server_is_asked_again_and_a_refusal_is_shown(
    browser: Browser, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, refusals = Service.ask, [True]

    async def busy_once(self: Service, *arguments: Any) -> Any:
        if refusals:
            refusals.pop()
            raise HTTPException(503, "9 users are waiting.", headers={"Retry-After": "30"})
        return await answer(self, *arguments)

    monkeypatch.setattr(Service, "ask", busy_once)
    visit(browser, f"{address}/#history=R1", "!document.getElementById('notice').hidden")
    assert browser.run("document.getElementById('notice').innerText").startswith(
        "The server is busy: 9 users are waiting."
    )
    browser.run("document.getElementById('notice-now').click()")
    browser.until("document.querySelectorAll('#list li').length === 7 && document.getElementById('notice').hidden")
    monkeypatch.setattr(ShopRecommender, "recommend", lambda self, *_, **__: self.tokens("R99"))
    browser.run("document.querySelector('[aria-label^=\"Add to the history\"]').click()")
    browser.until("!document.getElementById('refused').hidden")
    assert "'R99'. Give item ids." in browser.run("document.getElementById('refused').innerText")


def test_a_key_is_asked_for_and_kept_in_memory_alone(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef\n")
    with served(shop_app(api_key_file=keys)) as address:
        visit(browser, f"{address}/#history=R1", "!document.getElementById('key').hidden")
        for key in ("wrong", "0123456789abcdef"):
            assert browser.run(FOCUS) == "key-input"
            browser.type(key)
            browser.press("Enter")
            if key == "wrong":
                browser.until("document.getElementById('key-text').textContent.includes('did not take this key')")
        browser.until("document.querySelectorAll('#list li').length === 7 && document.getElementById('key').hidden")
        assert browser.run(
            "[localStorage.length, sessionStorage.length, document.cookie, location.href.includes('01234')]"
        ) == [*(0, 0, "", False)]
