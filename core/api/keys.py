"""Who may use the server: keys that are shown once, and of which only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select, update

from core.api.errors import ApiError
from core.errors import UserError
from core.settings import get_settings
from core.store.database import session
from core.store.tables import ApiKey

BEGINNING = "lr-"
# 256 random bits: nobody guesses them, so a plain hash guards them as well as a slow one would.
RANDOM_BYTES = 32
SHOWN = 8
LONGEST_NAME = 100
# The use of a key is noted so often at most: a write for every request would hold up all others.
NOTED_EVERY_S = 60.0


def create(
    name: str,
    *,
    expires_at: float | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key: its record, and the key itself, which cannot be seen again. From now on the server asks for one.

    Raises UserError for an empty name, an end in the past, or a limit below 1.
    """
    if not name.strip() or len(name) > LONGEST_NAME:
        raise UserError(f"A key needs a name of at most {LONGEST_NAME} characters.", "Say whose it is.")
    if expires_at is not None and expires_at <= time.time():
        raise UserError("The key would have expired already.", "Choose a later day.")
    for limit, what in ((requests_per_minute, "requests"), (tokens_per_minute, "tokens")):
        if limit is not None and limit < 1:
            raise UserError(f"{limit} {what} a minute leave nothing to do with the key.", "Give 1 or more.")
    key = BEGINNING + secrets.token_urlsafe(RANDOM_BYTES)
    made = ApiKey(
        name=name.strip(),
        hash=_hash(key),
        beginning=key[:SHOWN],
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    with session() as db:
        db.add(made)
    return made, key


def keys() -> list[ApiKey]:
    """All keys, revoked and expired ones too, newest first."""
    with session(read_only=True) as db:
        return list(db.scalars(select(ApiKey).order_by(ApiKey.id.desc())))


def state(key: ApiKey) -> str:
    """`active`, `expired` or `revoked`."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "active"


def needed() -> bool:
    """Whether a key has been made. One that was revoked counts: shutting somebody out must never let all others in."""
    with session(read_only=True) as db:
        return db.scalar(select(ApiKey.id).limit(1)) is not None


def revoke(key_id: int) -> None:
    """Take a key back; requests with it are refused from now on. Raises UserError when there is none."""
    with session() as db:
        found = _row(db.get(ApiKey, key_id), key_id)
        found.revoked_at = found.revoked_at or time.time()


def forget(key_id: int) -> None:
    """Remove the record of a revoked key. Once none is left, this computer needs none again. Raises UserError."""
    with session() as db:
        found = _row(db.get(ApiKey, key_id), key_id)
        if found.revoked_at is None:
            raise UserError(f"The key {found.name} is in use.", "Revoke it first.")
        db.delete(found)


def authorize(key: str) -> ApiKey | None:
    """The record of a key; None for the app's own, which has no limits. Raises ApiError 401."""
    # Compared in full, however early the two differ: the time it takes says nothing about the key.
    if hmac.compare_digest(_hash(key), _hash(page_key())):
        return None
    with session(read_only=True) as db:
        # Looked up by its hash: whoever times this learns about a hash, which leads to no key.
        found = db.scalar(select(ApiKey).where(ApiKey.hash == _hash(key)))
    if found is None:
        raise _refused("Incorrect API key provided. The server's owner makes keys on the Serve page.")
    if (ended := state(found)) != "active":
        why = {"revoked": "has been revoked", "expired": "has expired"}[ended]
        raise _refused(f"This API key {why}. Ask the server's owner for another.")
    _note_use(found)
    return found


def page_key() -> str:
    """The key by which the app talks to its own server: in a file that its owner alone may read, made at first use."""
    return _page_key(get_settings().home / "server.key")


@lru_cache
def _page_key(path: Path) -> str:
    with suppress(FileExistsError):
        if path.is_file():
            return path.read_text(encoding="ascii")
        scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        scratch.touch(mode=0o600)
        scratch.write_text(BEGINNING + secrets.token_urlsafe(RANDOM_BYTES), encoding="ascii")
        try:
            # A link appears whole, and only where nothing was: of two processes one wins, and both read the same.
            path.hardlink_to(scratch)
        finally:
            scratch.unlink()
    return path.read_text(encoding="ascii")


def _note_use(key: ApiKey) -> None:
    now = time.time()
    if key.last_used_at is None or now - key.last_used_at >= NOTED_EVERY_S:
        with session() as db:
            db.execute(update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=now))


def _refused(why: str) -> ApiError:
    return ApiError(401, why, code="invalid_api_key")


def _row(found: ApiKey | None, key_id: int) -> ApiKey:
    if found is None:
        raise UserError(f"There is no key {key_id}.", "Look at the list of keys again.")
    return found


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
