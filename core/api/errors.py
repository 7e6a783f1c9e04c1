"""Every refusal in the one shape that clients of the OpenAI API read: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from core.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

# Of the codes that the API reference names, those a status alone decides.
CODES = {413: "request_too_large", 429: "rate_limit_exceeded"}
# What pydantic calls a mistake, and the code that clients know it by; all others are an invalid value.
MISTAKES = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
# Our own checks name the code they want.
OWN_MISTAKES = ("unsupported_parameter", "unsupported_value", "invalid_value")
LONGEST_PARAM = 200
METHODS = ("GET", "POST", "DELETE")
UNEXPECTED = "The server had an error while processing your request. Its log says more."


class ErrorBody(BaseModel):
    """What went wrong: for a person, by kind, at which parameter, and as a code that programs compare."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


# For FastAPI's description: any refusal of any route looks like this.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "The request was refused"},
    "5XX": {"model": ErrorResponse, "description": "The server could not answer"},
}


class ApiError(Exception):
    """A refusal with its HTTP status; `code` is what programs compare, `param` the parameter it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.headers = dict(headers or {})


def model_not_available(model: str, error: UserError) -> ApiError:
    """For a model that is offered and cannot be opened.

    The request was fine. Why the server cannot keep its word is its owner's affair, and may name folders.
    """
    log.warning("The model %s could not be opened: %s", model, error)
    return ApiError(
        503,
        "The model could not be opened. The server's log says why.",
        type="server_error",
        code="model_not_available",
    )


def install(app: FastAPI) -> None:
    """Answer every error of the app in this shape; what nobody foresaw goes to the log, and not to the client."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    for kind in (ApiError, UserError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)


def response(error: Exception) -> JSONResponse:
    """The answer to an error."""
    from fastapi.responses import JSONResponse

    found = as_api_error(error)
    return JSONResponse(_content(found), found.status, found.headers)


def body(error: Exception) -> dict[str, Any]:
    """`{"error": {...}}` alone, for errors that come when a stream has begun."""
    return _content(as_api_error(error))


def as_api_error(error: Exception) -> ApiError:
    """Any error as one for clients. What is unexpected is logged, with its traceback."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    match error:
        case ApiError():
            return error
        case UserError():
            return ApiError(400, f"{error.what} {error.remedy}".strip())
        case RequestValidationError():
            return _refused(error.errors(), error.body)
        case HTTPException():
            headers = error.headers or {}
            return ApiError(error.status_code, _sentence(error), code=CODES.get(error.status_code), headers=headers)
        case _:
            log.error("A request failed unexpectedly.", exc_info=error)
            return ApiError(500, UNEXPECTED, type="server_error")


async def _answer(request: Request, error: Exception) -> JSONResponse:
    from starlette.exceptions import HTTPException

    if isinstance(error, HTTPException) and error.status_code == 404:
        what = f"Invalid URL ({request.method} {request.url.path})."
        return response(ApiError(404, what, code="unknown_url"))
    if isinstance(error, HTTPException) and error.status_code == 405:
        what = f"Not allowed to {request.method} on {request.url.path}."
        allowed = {"Allow": ", ".join(_allowed(request))}
        return response(ApiError(405, what, code="method_not_supported", headers=allowed))
    return response(error)


def _allowed(request: Request) -> list[str]:
    """The methods of a path, whose routes know each only their own."""
    from starlette.routing import Match

    routes = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in routes)
    ]


def _content(error: ApiError) -> dict[str, Any]:
    found = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    # A lone surrogate, which JSON may bring and UTF-8 cannot carry, must not break the answer that quotes it.
    return {"error": {name: _carried(text) for name, text in found.items()}}


def _carried(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


def _sentence(error: HTTPException) -> str:
    if error.status_code == 413:
        return "The request is too large for this server."
    return str(error.detail).rstrip(".") + "."


def _refused(mistakes: Sequence[Mapping[str, Any]], body: Any) -> ApiError:
    """The first mistake of a request. What was sent is not repeated, since it may be long, or secret."""
    first = mistakes[0]
    kind = str(first["type"])
    if kind == "json_invalid":
        where = f"{first['ctx']['error']} at character {first['loc'][-1]}"
        return ApiError(400, f"We could not parse the JSON body of your request: {where}.")
    param = _param(first["loc"], body, kept=kind in MISTAKES)
    if kind in OWN_MISTAKES:
        return ApiError(400, str(first["msg"]), param=param, code=kind)
    code = MISTAKES.get(kind, "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value")
    match code:
        case "missing_required_parameter":
            message = f"Missing required parameter: '{param}'." if param else "The request needs a JSON body."
        case "unknown_parameter":
            message = f"Unknown parameter: '{param}'."
        case _:
            said = str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
            message = f"Invalid value for '{param}': {said}." if param else f"{said}."
    return ApiError(400, message, param=param, code=code)


def _param(loc: Sequence[str | int], body: Any, *, kept: bool) -> str | None:
    """The path to a value, such as `messages[0].content`.

    Pydantic's own path also names the variants of a union that it tried; those are no part of the body and are left
    out. `kept`: the last name is not in the body, and yet what it is about.
    """
    if loc and loc[0] != "body":
        return str(loc[-1])
    path, here = "", body
    steps = list(loc[1:])
    for i, step in enumerate(steps):
        last = kept and i == len(steps) - 1
        if isinstance(step, int) and isinstance(here, list) and step < len(here):
            path, here = f"{path}[{step}]", here[step]
        elif isinstance(step, str) and isinstance(here, Mapping) and step in here:
            path, here = f"{path}.{step}", here[step]
        elif last or (body is None and isinstance(step, str)):
            path = f"{path}.{step}"
    return path.lstrip(".")[:LONGEST_PARAM] or None
