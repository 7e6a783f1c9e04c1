"""Files sent to the server, or written by it: a row each, and the bytes in the home folder under the row's own id.

The name a client gives is kept to be shown, and never becomes a path.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
import unicodedata
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sqlalchemy import select

from core.api.errors import ApiError
from core.settings import get_settings
from core.store.database import session
from core.store.tables import ApiFile

BLOCK = 2**20
LONGEST_NAME = 255
# Without letters and digits that look alike.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# 24 characters of 57 are 140 random bits.
ID_LENGTH = 24


def new_id(prefix: str) -> str:
    """An id that nobody can guess, such as `file-` and 24 letters and digits."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


def store(name: str, purpose: str, content: BinaryIO | bytes, *, expires_at: float | None = None) -> ApiFile:
    """Keep a copy of the content, read a block at a time. Raises ApiError 507 when the disk does not take it."""
    file = ApiFile(public_id=new_id("file-"), name=shown_name(name), purpose=purpose, expires_at=expires_at)
    source, digest, size = io.BytesIO(content) if isinstance(content, bytes) else content, hashlib.sha256(), 0
    path = path_of(file)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        with path.open("wb") as copy:
            while block := source.read(BLOCK):
                copy.write(block)
                digest.update(block)
                size += len(block)
        file.bytes, file.hash = size, digest.hexdigest()
        with session() as db:
            db.add(file)
    except OSError as error:
        path.unlink(missing_ok=True)
        what = f"The server could not keep the file: {error.strerror or error}."
        raise ApiError(507, what, type="server_error", code="insufficient_storage") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return file


def find(public_id: str) -> ApiFile | None:
    """The file of this id, if there is one and its time has not run out."""
    drop_expired()
    with session(read_only=True) as db:
        return db.scalar(select(ApiFile).where(ApiFile.public_id == public_id))


def files(purpose: str | None = None) -> list[ApiFile]:
    """All files, or those of a purpose, newest first."""
    drop_expired()
    query = select(ApiFile).order_by(ApiFile.id.desc())
    with session(read_only=True) as db:
        return list(db.scalars(query if purpose is None else query.where(ApiFile.purpose == purpose)))


def delete(file: ApiFile) -> None:
    with session() as db:
        found = db.get(ApiFile, file.id)
        if found is not None:
            db.delete(found)
    path_of(file).unlink(missing_ok=True)


def drop_expired() -> None:
    """Delete the files whose time has run out."""
    with session(read_only=True) as db:
        expired = list(db.scalars(select(ApiFile).where(ApiFile.expires_at <= time.time())))
    for file in expired:
        delete(file)


def path_of(file: ApiFile) -> Path:
    return get_settings().home / "api-files" / file.public_id


def shown_name(name: str) -> str:
    """The last part of a name, however it was written, without what cannot be shown."""
    shown = printable(PurePosixPath(name.replace("\\", "/")).name)[:LONGEST_NAME]
    return shown if shown.strip(".") else "file"


def printable(text: str) -> str:
    """A text without control characters and the like, at its ends without white space."""
    return "".join(c for c in text if unicodedata.category(c)[0] != "C").strip()
