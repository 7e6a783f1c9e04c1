"""The routes of files: send, list, look at, read, delete. What is sent is training data; results are written here."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import FileResponse
from openai.types import FileDeleted, FileObject

from core.api import file_store, tunings
from core.api.doors import Caller
from core.api.errors import ApiError
from core.api.lists import ListOf, page
from core.store.tables import ApiFile

PURPOSE = "fine-tune"
OTHER_PURPOSES = ("assistants", "batch", "vision", "user_data", "evals")
# From an hour to thirty days, as the API has it.
SHORTEST_S, LONGEST_S = 3_600, 2_592_000
MOST_LISTED = 10_000

router = APIRouter(prefix="/v1/files", tags=["files"])


@router.post("")
def create_file(
    caller: Caller,
    file: UploadFile,
    purpose: Annotated[str, Form(json_schema_extra={"enum": [PURPOSE]})],
    anchor: Annotated[Literal["created_at"] | None, Form(alias="expires_after[anchor]")] = None,
    seconds: Annotated[int | None, Form(alias="expires_after[seconds]", ge=SHORTEST_S, le=LONGEST_S)] = None,
) -> FileObject:
    """Keep a file of training or validation examples."""
    if purpose != PURPOSE:
        what = "offers fine-tuning only" if purpose in OTHER_PURPOSES else "knows no such purpose"
        raise ApiError(
            400,
            f"This server {what}: send the file with the purpose '{PURPOSE}'.",
            param="purpose",
            code="invalid_value",
        )
    if (anchor is None) != (seconds is None):
        raise ApiError(400, "'expires_after' needs both an anchor and seconds.", param="expires_after")
    if not file.size:
        raise ApiError(400, "The file is empty.", param="file", code="invalid_value")
    expires_at = None if seconds is None else time.time() + seconds
    return _shown(file_store.store(file.filename or "", purpose, file.file, expires_at=expires_at))


@router.get("")
def list_files(
    caller: Caller,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    order: Literal["asc", "desc"] = "desc",
) -> ListOf[FileObject]:
    """The files, newest first unless asked otherwise."""
    tunings.settle()
    found = file_store.files(purpose)
    if order == "asc":
        found.reverse()
    return page(found, [file.public_id for file in found], _shown, after=after, limit=limit)


@router.get("/{file_id}")
def retrieve_file(file_id: str, caller: Caller) -> FileObject:
    return _shown(_found(file_id))


@router.get("/{file_id}/content", response_class=FileResponse)
def file_content(file_id: str, caller: Caller) -> Any:
    """The bytes as they were sent, or the measurements of a training as CSV."""
    found = _found(file_id)
    return FileResponse(file_store.path_of(found), media_type="application/octet-stream", filename=found.name)


@router.delete("/{file_id}")
def delete_file(file_id: str, caller: Caller) -> FileDeleted:
    """Jobs that have read it go on: they learn from a copy."""
    file_store.delete(_found(file_id))
    return FileDeleted(id=file_id, deleted=True, object="file")


def _found(file_id: str) -> ApiFile:
    found = file_store.find(file_id)
    if found is None:
        raise ApiError(404, f"No such File object: {file_id[:64]}", param="id")
    return found


def _shown(file: ApiFile) -> FileObject:
    return FileObject.model_validate(
        {
            "id": file.public_id,
            "object": "file",
            "bytes": file.bytes,
            "created_at": int(file.created_at),
            "filename": file.name,
            "purpose": file.purpose,
            "status": "processed",
            "expires_at": None if file.expires_at is None else int(file.expires_at),
        }
    )
