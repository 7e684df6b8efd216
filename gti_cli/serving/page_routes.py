"""The page at ``/`` and what it asks the server beyond the public routes; and the reference at ``/docs``.

The page is one static file, ``page/index.html``. Its Content-Security-Policy lets it run its own script and style,
which are named by their digests, and lets it talk to this server; nothing else, from nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from gti_cli.serving.bodies import check_known, problems
from gti_cli.serving.page import bodies
from gti_cli.serving.page.answers import PageAnswers
from gti_cli.serving.page.reference import render_reference

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender
    from gti_cli.recommender.results import LevelScore

# Asks the model, in the queue of the server, for the log-probability of each code of an item behind a history.
Explain = Callable[[Request, list[str], str], Awaitable[tuple["Recommender", list["LevelScore"]]]]


def read_page() -> tuple[str, dict[str, str]]:
    """Return the page and the headers that it is sent with."""
    page = (files("gti_cli.serving.page") / "index.html").read_text("utf-8")
    return page, _headers(page)


def _headers(page: str) -> dict[str, str]:
    """The headers of a page that runs its own script and style alone, and asks this server alone."""
    styles, scripts = (
        " ".join(f"'sha256-{_digest(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
        or "'none'"
        for tag in ("style", "script")
    )
    policy = (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def add_page_routes(
    app: FastAPI, current: Callable[[], Recommender], explain: Explain, dependencies: Sequence[Any] = ()
) -> None:
    """Add the page and its routes to an application.

    Args:
        app: The application.
        current: Returns the recommender that answers now; it may be another one after a reload.
        explain: Explains a score, and says which recommender did.
        dependencies: What a request for data must pass, such as a check of its key. The page itself holds no data, and
            a browser sends no key with its first request.
    """
    page, headers = read_page()

    @app.get("/", include_in_schema=False)
    def show_page() -> HTMLResponse:
        """Send the page; it holds no data."""
        return HTMLResponse(page, headers=headers)

    @app.get("/docs", include_in_schema=False)
    def show_reference() -> HTMLResponse:
        """Send the reference of the routes."""
        reference = render_reference(app.openapi())
        return HTMLResponse(reference, headers=_headers(reference))

    kept: weakref.WeakKeyDictionary[Any, PageAnswers] = weakref.WeakKeyDictionary()
    opening = threading.Lock()

    def answers(recommender: Recommender) -> PageAnswers:
        """The tables of a recommender, made when they are first needed."""
        with opening:
            if recommender not in kept:
                kept[recommender] = PageAnswers(recommender)
            return kept[recommender]

    router = APIRouter(prefix="/page", tags=["page"])
    _add_catalogue(router, lambda: answers(current()))
    _add_why(router, current, explain, answers)
    app.include_router(router, dependencies=list(dependencies))


def _add_catalogue(router: APIRouter, answers: Callable[[], PageAnswers]) -> None:
    """Add the routes that look something up."""

    @router.get("/about", responses=problems(401))
    def about() -> bodies.About:
        """Say what is loaded, and name a few items to begin with."""
        return answers().about()

    @router.post("/items", responses=problems(400, 401, 413, 415, 422))
    def items(body: bodies.ItemsRequest) -> bodies.Items:
        """Give titles and Semantic IDs of items. Items that the catalogue does not have are left out."""
        return answers().items(body.item_ids)

    @router.get("/find", responses=problems(401, 422))
    def find(q: Annotated[str, Query(max_length=200, description="Words of a title.")]) -> bodies.Items:
        """Find items whose titles have words that begin with those of the query."""
        return answers().find(q)

    @router.get("/tree", responses=problems(401, 422))
    def tree(
        prefix: Annotated[str, Query(max_length=1000, description="First codes, such as `<a_12>`.")] = "",
        start: Annotated[int, Query(ge=0, le=10**9, description="Branches to leave out at the beginning.")] = 0,
    ) -> bodies.Tree:
        """List the branches behind some first codes, the largest first, with counts and examples."""
        return answers().tree(prefix, start)


def _add_why(
    router: APIRouter,
    current: Callable[[], Recommender],
    explain: Explain,
    answers: Callable[[Recommender], PageAnswers],
) -> None:
    """Add the route that explains a score."""

    @router.post("/why", responses=problems(400, 401, 413, 415, 422, 503, 504))
    async def why(body: bodies.WhyRequest, request: Request) -> bodies.Why:
        """Give the log-probability of each code of an item behind a history, and the codes that both share."""
        recommender = current()
        levels: list[LevelScore] = []
        check_known([*body.history, body.item_id], recommender)
        if not recommender.is_blend:
            # In the queue of the recommendations: so it waits no longer than they do, and does not slow them.
            recommender, levels = await explain(request, body.history, body.item_id)
        return await run_in_threadpool(
            lambda: answers(recommender).why(body.history, body.item_id, levels)  # the first one makes the tables
        )
