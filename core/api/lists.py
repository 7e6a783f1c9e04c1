"""Lists as the API gives them: a page at a time, after an item that the client has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from core.api.errors import ApiError

Row = TypeVar("Row")
Shown = TypeVar("Shown", bound=BaseModel)


class ListOf(BaseModel, Generic[Shown]):
    """What the package's cursor pages read."""

    object: Literal["list"] = "list"
    data: list[Shown]
    has_more: bool
    first_id: str | None
    last_id: str | None


def page(
    rows: Sequence[Row], ids: Sequence[str], show: Callable[[Row], Shown], *, after: str | None, limit: int
) -> ListOf[Shown]:
    """The rows that follow the one with the id `after`. Raises ApiError when none has it."""
    if after is not None and after not in ids:
        raise ApiError(400, "The list has no item of the id given as 'after'.", param="after", code="invalid_value")
    start = 0 if after is None else ids.index(after) + 1
    here = ids[start : start + limit]
    return ListOf(
        data=[show(row) for row in rows[start : start + limit]],
        has_more=len(ids) > start + limit,
        first_id=here[0] if here else None,
        last_id=here[-1] if here else None,
    )
