"""The application that the web server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from gti_cli.errors import InputError
from gti_cli.serving.access import LOCAL_HOSTS, KeyCheck, read_keys
from gti_cli.serving.bodies import problems
from gti_cli.serving.metrics import LEFT, CountRequests
from gti_cli.serving.page_routes import add_page_routes
from gti_cli.serving.routes import make_open_routes, make_routes
from gti_cli.serving.service import ClientLeftError, Service
from gti_cli.workspace.manifest import package_versions


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
    add_page_routes(app, lambda: service.recommender, protection)
    for error, handler in ((InputError, _refuse), (RequestValidationError, _refuse_body), (ClientLeftError, _give_up)):
        app.add_exception_handler(error, handler)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=options.max_body_kb * 1024)
    if not keys:
        # A page of another site may let its own host name lead to this address (DNS rebinding), and then read answers.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_HOSTS, options.host], www_redirect=False)
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer 422 with the sentence that the command line would print."""
    return JSONResponse({"detail": str(error)}, 422)


async def _refuse_body(request: Request, error: Exception) -> Response:
    """Say what is wrong with a body or a parameter, in one line for each fault. What was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return JSONResponse({"detail": f"The body is no JSON: {faults[0]['ctx']['error']}."}, 400)
    lines = []
    for fault in faults[:5]:
        place = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
        lines.append(f"{place}: {fault['msg']}.".encode("ascii", "backslashreplace").decode())
    if len(faults) > 5:
        lines.append(f"{len(faults) - 5:,} more faults.")
    return JSONResponse({"detail": " ".join(lines)}, 422)


async def _give_up(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has gone. The code stands in the counters."""
    return Response(status_code=LEFT)
