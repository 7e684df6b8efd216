"""The application that the web server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from gti_cli.serving.access import LOCAL_HOSTS, KeyCheck, read_keys
from gti_cli.serving.bodies import problems
from gti_cli.serving.metrics import CountRequests
from gti_cli.serving.page_routes import add_page_routes
from gti_cli.serving.refusals import JsonRefusals, add_refusals
from gti_cli.serving.routes import make_open_routes, make_routes
from gti_cli.serving.service import Service
from gti_cli.serving.work import Explanations
from gti_cli.workspace.manifest import package_versions

_MOST_EXPLANATIONS = 8  # that wait for the model at once


def make_app(service: Service) -> FastAPI:
    """Make the application of a service.

    Args:
        service: What answers. It runs while the application runs.

    Raises:
        InputError: When the file of keys cannot be used.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Answer batches for as long as the application runs."""
        async with service.running():
            yield

    options = service.options
    keys = read_keys(options.api_key_file) if options.api_key_file is not None else []
    app = FastAPI(
        title="gti serve",
        version=package_versions().get("gti-cli", "unknown"),
        description="Recommendations of one checkpoint.",
        lifespan=lifespan,
        responses=problems(422),
        # FastAPI's own pages load scripts from another site; here nothing comes from outside. See `page.reference`.
        docs_url=None,
        redoc_url=None,
    )
    protection = [Depends(KeyCheck(keys))] if keys else []
    app.include_router(make_open_routes(service))
    app.include_router(make_routes(service), dependencies=protection)
    add_page_routes(app, lambda: service.recommender, _Explainer(service), protection)
    add_refusals(app)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=options.max_body_kb * 1024)
    if not keys:
        # A page of another site may let its own host name lead to this address (DNS rebinding), and then read answers.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_HOSTS, options.host], www_redirect=False)
    app.add_middleware(JsonRefusals, max_body_kb=options.max_body_kb)
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app


class _Explainer:
    """Explains scores for the page, in the queue of the recommendations; a few at once, so that lists get their turn.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._room = service, asyncio.Semaphore(_MOST_EXPLANATIONS)

    async def __call__(self, request: Request, history: list[str], item_id: str) -> Any:
        """Return the recommender that answers, and the log-probability of each code of an item.

        Raises:
            HTTPException: 503, when as many explanations wait as may.
        """
        if self._room.locked():
            raise HTTPException(503, "Other items are being explained. Come again later.", headers={"Retry-After": "1"})
        async with self._room:
            return (await self._service.ask(request, Explanations(), [(history, item_id)]))[0]
