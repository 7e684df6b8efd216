"""The routes of the server: they check a request, hand its work to the queue, and write the answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from gti_cli.errors import InputError
from gti_cli.serving import bodies
from gti_cli.serving.metrics import CONTENT_TYPE
from gti_cli.serving.service import Service
from gti_cli.serving.work import AskedList, Lists, SimilarItems

_ASKED = (400, 401, 413, 415, 422, 503, 504)


def make_routes(service: Service) -> APIRouter:
    """Make the routes for which a server may want a key.

    Args:
        service: What answers.
    """
    router = APIRouter()
    _add_lists(router, service)
    _add_items(router, service)
    _add_operation(router, service)
    return router


def make_open_routes(service: Service) -> APIRouter:
    """Make the route for what watches the server and holds no key.

    Args:
        service: What answers.
    """
    router = APIRouter()

    @router.get("/health", tags=["operation"], response_model=bodies.Health, responses={503: {"model": bodies.Health}})
    async def health() -> Response:
        """Say whether the server answers (200) or has failed and should be started anew (503), and with what."""
        return JSONResponse(
            {
                "status": "ok" if service.is_working else "failed",
                "checkpoint": service.recommender.name,
                "items": len(service.recommender.item_ids),
                "loaded": service.loaded,
                "waiting": service.waiting,
            },
            200 if service.is_working else 503,
        )

    return router


def _add_lists(router: APIRouter, service: Service) -> None:
    """Add the routes that ask the model for lists."""

    @router.post(
        "/recommend",
        tags=["lists"],
        response_model=bodies.RecommendedItems | bodies.UserLists,
        responses=bodies.problems(*_ASKED),
    )
    async def recommend(body: bodies.RecommendRequest, request: Request) -> Response:
        """Recommend items behind a history: a list for `history`, or one list for each of `users`."""
        if (body.history is None) == (body.users is None):
            raise InputError("it is not said for whom to recommend", remedy="give either 'history' or 'users'")
        histories = [body.history] if body.history is not None else [user.history for user in body.users or []]
        _check_histories(histories, service)
        _check_choice(body, itertools.chain(*histories), service)
        asked = [AskedList(history, body.exclude, body.only, body.filter_seen) for history in histories]
        lists = [_list(found) for found in await service.ask(request, _kind("histories", body.k, service), asked)]
        return JSONResponse(lists[0] if body.history is not None else {"users": lists})

    @router.post("/search", tags=["lists"], response_model=bodies.RecommendedItems, responses=bodies.problems(*_ASKED))
    async def search(body: bodies.SearchRequest, request: Request) -> Response:
        """Recommend the items that fit a query."""
        _check_choice(body, [], service)
        asked = AskedList(body.query, body.exclude, body.only)
        answers = await service.ask(request, _kind("queries", body.k, service), [asked])
        return JSONResponse(_list(answers[0]))


def _add_items(router: APIRouter, service: Service) -> None:
    """Add the routes about single items."""

    @router.get(
        "/items/{item_id:path}",
        tags=["items"],
        response_model=bodies.Item,
        responses=bodies.problems(401, 404),
    )
    async def item(item_id: str) -> Response:
        """Give title and Semantic ID of an item."""
        recommender = service.recommender
        try:
            bodies.check_known([item_id], service.recommender)
            tokens = recommender.tokens(item_id)
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        return JSONResponse({"item_id": item_id, "title": recommender.titles.get(item_id, ""), "tokens": tokens})

    @router.get(
        "/similar/{item_id:path}",
        tags=["items"],
        response_model=bodies.SimilarList,
        responses=bodies.problems(401, 404, 422, 503, 504),
    )
    async def similar(
        item_id: str,
        request: Request,
        k: Annotated[int, Query(ge=1, description="Items of the list. The server's --max-k is the most.")] = 10,
    ) -> Response:
        """List the items most similar to an item, by embedding and by shared codes."""
        _check_k(k, service)
        try:
            bodies.check_known([item_id], service.recommender)
            answers = await service.ask(request, SimilarItems(k), [item_id])
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        return JSONResponse({"items": [vars(entry) for entry in answers[0]]})


def _add_operation(router: APIRouter, service: Service) -> None:
    """Add the routes for those who run the server."""

    @router.get(
        "/metrics",
        tags=["operation"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **bodies.problems(401)},
    )
    async def metrics() -> Response:
        """Give counters and times in the text format of Prometheus."""
        service.metrics.waiting.set(service.waiting)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @router.post(
        "/reload",
        tags=["operation"],
        response_model=bodies.Reloaded,
        responses=bodies.problems(400, 401, 409, 413, 415, 422),
    )
    async def reload(body: bodies.ReloadRequest) -> Response:
        """Load the checkpoint and the items of the workspace anew, or another checkpoint, without a pause.

        The new one is checked before it takes the place of the old one, which stays if the check fails.
        """
        if service.options.workers > 1:
            raise HTTPException(
                409, "This server has several workers. Send its first process SIGHUP: they start anew, one by one."
            )
        seconds = await service.reload(body.checkpoint)
        recommender = service.recommender
        return JSONResponse(
            {"checkpoint": recommender.name, "items": len(recommender.item_ids), "seconds": round(seconds, 3)}
        )


def _kind(of: str, k: int, service: Service) -> Lists:
    """Return the kind of work that makes lists of ``k`` items."""
    _check_k(k, service)
    return Lists(of, k, service.options.search, service.options.beams)


def _check_k(k: int, service: Service) -> None:
    most = service.options.max_k
    if k > most:
        raise InputError(f"k {k} is more than this server lists", remedy=f"ask for {most} items or fewer")


def _check_histories(histories: Sequence[Sequence[str]], service: Service) -> None:
    options = service.options
    if len(histories) > options.max_users:
        raise InputError(
            f"{len(histories):,} users are more than this server answers in one request",
            remedy=f"ask for {options.max_users:,} users or fewer at once",
        )
    longest = max(map(len, histories))
    if longest > options.max_history:
        raise InputError(
            f"a history of {longest:,} items is longer than this server reads",
            remedy=f"send the last {options.max_history:,} items or fewer",
        )


def _check_choice(body: bodies.ListRequest, asked: Iterable[str], service: Service) -> None:
    """Refuse unknown items, and a choice that leaves no item, before the request gets into the queue."""
    bodies.check_known([*asked, *body.exclude, *(body.only or [])], service.recommender)
    if body.only is not None and set(body.only) <= set(body.exclude):
        raise InputError(
            "'only' and 'exclude' leave no item to recommend", remedy="list other items, or leave 'only' out for all"
        )


def _list(found: Any) -> dict[str, Any]:
    """Return a list as JSON shows it."""
    return {"items": [vars(item) for item in found.items], "proven": found.proven, "cut": found.cut}
