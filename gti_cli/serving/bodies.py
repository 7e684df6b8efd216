"""What requests and answers look like; pydantic checks requests, and the OpenAPI document shows both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gti_cli.errors import InputError, list_names, list_some

if TYPE_CHECKING:
    from gti_cli.recommender.recommender import Recommender


def _check_text(text: str) -> str:
    """Refuse surrogates, which JSON can write as an escape and no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("text", "The text has letters that are no Unicode") from None
    return text


Text = Annotated[str, AfterValidator(_check_text)]


class Request(BaseModel):
    """A body of a request. A field that is not known is an error, and "10" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, content: Any) -> Any:
        """Name the fields that are not known, and those that are: pydantic's own words name neither."""
        known = list(cls.model_fields)
        unknown = [name for name in content if name not in known] if isinstance(content, dict) else []
        if unknown:
            names = {"unknown": list_some(unknown), "known": list_names(known)}
            message = "There is no field {unknown} here; the fields are {known}"
            raise PydanticCustomError("unknown_field", message, names)
        return content


class ListRequest(Request):
    """What requests for recommendations and for searches have in common."""

    k: int = Field(10, ge=1, description="Items of each list. The server's --max-k is the most.")
    exclude: list[Text] = Field([], description="Item ids that are not recommended.")
    only: list[Text] | None = Field(None, description="Item ids: no others are recommended.")


class User(Request):
    """One user of several."""

    history: list[Text] = Field(min_length=1, description="Item ids, oldest first.")


class RecommendRequest(ListRequest):
    """Either one history, or several users."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["history"], "properties": {"history": {"type": "array"}, "users": {"type": "null"}}},
                {"required": ["users"], "properties": {"users": {"type": "array"}, "history": {"type": "null"}}},
            ]
        }
    )

    history: list[Text] | None = Field(None, min_length=1, description="Item ids of one user, oldest first.")
    users: list[User] | None = Field(None, min_length=1, description="Several users; one list for each.")
    filter_seen: bool = Field(False, description="Whether to leave out items of the user's own history.")


class SearchRequest(ListRequest):
    """Words to search with."""

    query: Text = Field(min_length=1, description="Words.")


class ReloadRequest(Request):
    """What to load."""

    checkpoint: str | None = Field(None, description="Name of a checkpoint of the workspace. None: the present one.")


class Item(BaseModel):
    """An item of the catalogue."""

    item_id: str
    title: str
    tokens: str = Field(description="Its Semantic ID.")


class Recommended(BaseModel):
    """An item of a list."""

    rank: int
    item_id: str
    title: str
    score: float = Field(description="Log-probability of its Semantic ID.")


class RecommendedItems(BaseModel):
    """A list of items, the most probable first."""

    items: list[Recommended]
    proven: bool = Field(description="Whether the search proves that no item is missing.")
    cut: int = Field(description="Items of the history that lie further back than the prompt shows; 0 for a query.")


class UserLists(BaseModel):
    """A list for each user, in the order of the request."""

    users: list[RecommendedItems]


class Similar(BaseModel):
    """An item that is similar to another."""

    rank: int
    item_id: str
    title: str
    similarity: float | None = Field(description="Cosine of the two embeddings; null where there are none.")
    shared_levels: int = Field(description="First codes that both Semantic IDs share.")


class SimilarList(BaseModel):
    """Similar items, the most similar first."""

    items: list[Similar]


class Health(BaseModel):
    """What the server answers with."""

    status: str = Field(description="ok, or failed.")
    checkpoint: str
    items: int = Field(description="Items of the catalogue.")
    loaded: str = Field(description="When the checkpoint was loaded, in UTC.")
    waiting: int = Field(description="Users and queries in the queue.")


class Reloaded(BaseModel):
    """What answers since a reload."""

    checkpoint: str
    items: int
    seconds: float = Field(description="Time that loading and checking took.")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


def check_known(item_ids: Iterable[str], recommender: Recommender) -> None:
    """Refuse items that the catalogue does not have.

    The recommender would refuse them, too, and look for ids that are spelt in another way; but that takes long in a
    large catalogue, and in a batch it holds up the others.

    Raises:
        InputError: When an item is unknown.
    """
    row_of = recommender.row_of
    unknown = [item for item in dict.fromkeys(item_ids) if item not in row_of]
    if unknown:
        raise InputError(
            f"items without a semantic ID: {list_some(unknown)}",
            remedy="give item ids as the catalogue has them ('item_id')",
        )


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the entries of the OpenAPI document for refusals.

    Args:
        *codes: Status codes.
    """
    return {code: {"model": Problem, "description": _REASONS[code]} for code in codes}


_REASONS = {
    400: "The body is no JSON.",
    401: "No key, or a wrong one.",
    404: "There is no such item.",
    409: "The server is loading already, or has several workers.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    422: "The request is wrong; the sentence says what.",
    503: "Too many requests are waiting. Retry-After says when to come again.",
    504: "The answer was not there in time.",
}
