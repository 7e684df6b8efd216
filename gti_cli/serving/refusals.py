"""What a refused request is answered: always ``{"detail": SENTENCE}``, also where the web framework refuses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from gti_cli.errors import InputError
from gti_cli.serving.metrics import LEFT
from gti_cli.serving.service import ClientLeftError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def add_refusals(app: FastAPI) -> None:
    """Answer errors of an application in one shape.

    Args:
        app: The application.
    """
    handlers = {
        InputError: _refuse,
        RequestValidationError: _refuse_body,
        ClientLeftError: _give_up,
        HTTPException: _refuse_by_code,
        Exception: _fail,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


class JsonRefusals:
    """ASGI middleware that turns refusals in plain text, those of other middleware, into JSON.

    Args:
        app: The application.
        max_body_kb: Largest body, in units of 1,024 bytes.
    """

    def __init__(self, app: ASGIApp, max_body_kb: int) -> None:
        self._app = app
        self._sentences = {
            400: "The server answers requests to this machine by its own names alone, and the header Host has another.",
            413: f"The body is larger than the {max_body_kb:,} KiB that this server reads.",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write its refusal anew where it is one in plain text."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_replaced = False

        async def send_json(message: Message) -> None:
            """Send a part of the answer, or in its place that of the JSON answer."""
            nonlocal is_replaced
            if message["type"] == "http.response.start":
                sentence = self._sentences.get(message["status"])
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if sentence is not None and (kind.startswith("text/plain") or message["status"] == 413):
                    is_replaced = True
                    await JSONResponse({"detail": sentence}, message["status"])(scope, receive, send)
            if not is_replaced:
                await send(message)

        await self._app(scope, receive, send_json)


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer 422 with the sentence that the command line would print."""
    return JSONResponse({"detail": str(error)}, 422)


async def _refuse_body(request: Request, error: Exception) -> Response:
    """Say what is wrong with a body or a parameter, in one line for each fault. What was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return JSONResponse({"detail": f"The body is no JSON: {faults[0]['ctx']['error']}."}, 400)
    if any(tuple(fault["loc"]) == ("body",) for fault in faults) and not _is_said_to_be_json(request):
        remedy = "Send a JSON object, with the header 'Content-Type: application/json'."
        return JSONResponse({"detail": f"The body is not said to be JSON. {remedy}"}, 415)
    lines = []
    for fault in faults[:5]:
        place = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
        lines.append(f"{place}: {fault['msg']}.".encode("ascii", "backslashreplace").decode())
    if len(faults) > 5:
        lines.append(f"{len(faults) - 5:,} more faults.")
    return JSONResponse({"detail": " ".join(lines)}, 422)


def _is_said_to_be_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _refuse_by_code(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses by a code alone with a sentence."""
    assert isinstance(error, HTTPException)
    sentences = {
        (404, "Not Found"): "There is nothing at this address. GET /docs lists what there is.",
        (405, "Method Not Allowed"): "This address does not take this method. GET /docs lists what there is.",
        (400, "There was an error parsing the body"): "The body is no text in UTF-8.",
    }
    sentence = sentences.get((error.status_code, str(error.detail)))
    if sentence is None:
        return await http_exception_handler(request, error)
    return JSONResponse({"detail": sentence}, error.status_code, headers=error.headers)


async def _give_up(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has gone. The code stands in the counters."""
    return Response(status_code=LEFT)


async def _fail(request: Request, error: Exception) -> Response:
    """Say that this is a fault of the server; its log has the traceback."""
    return JSONResponse({"detail": "The server failed on this request; its log says why."}, 500)
