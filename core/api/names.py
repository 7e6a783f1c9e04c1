"""What models are called by the server's clients, and which of them there are: `ft:BASE:ORGANIZATION:SUFFIX:ID`.

The id alone says which adapter it is, so a name stays good when the adapter is renamed, or the organisation.
"""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from sqlalchemy import delete, select

from core.api.errors import ApiError
from core.errors import UserError
from core.jobs import queue
from core.models.catalogue import BUNDLED_MODEL, bundled_gguf, catalogue
from core.models.package import public_name as told_name
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, FineTune, Job, Withheld

LONGEST_SUFFIX = 64
# Models of the hub's cache come and go by other programs; a list of them is good for so long.
REMEMBERED_S = 30
LONGEST_SAID = 200
TUNED = re.compile(r"ft:([^:]+):[^:]+:[^:]*:(?:(\d{1,18})|job(\d{1,18}):ckpt-step-(\d{1,18}))")


@dataclass(frozen=True)
class Offered:
    """A model that answers: `base` is its id within the product, `folder` where its adapter or tuned model lies."""

    name: str
    created: int
    owned_by: str
    base: str
    adapter: Adapter | None = None
    folder: Path | None = None
    withheld: bool = False


def public_name(adapter: Adapter) -> str:
    """An adapter's name for clients; of one that a client had trained, with the suffix it asked for."""
    return _tuned_name(adapter, _suffixes())


def checkpoint_name(job: Job, step: int) -> str:
    """A training's checkpoint for clients; it answers as long as the checkpoint is kept."""
    suffix = _slug(_suffixes().get(job.id, job.spec["name"]))
    base = short_name(job.spec["recipe"]["model"])
    return f"ft:{base}:{get_settings().organization}:{suffix}:job{job.id}:ckpt-step-{step}"


def short_name(base: str) -> str:
    """A base model's name within that of its adapters, such as `smollm2-135m`."""
    last = told_name(base).rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).removesuffix("-instruct") or "model"


def offered(more_bases: Sequence[str] = ()) -> list[Offered]:
    """All that the server could offer, also what is withheld: base models on this machine, then adapters, newest first.

    `more_bases` are offered besides those found: folders, or ids of the hub, where they are fetched when first asked.
    """
    with session(read_only=True) as db:
        query = select(Adapter).where(Adapter.deleted_at.is_(None)).order_by(Adapter.id.desc())
        adapters = list(db.scalars(query))
        withheld = {_key(name) for name in db.scalars(select(Withheld.name))}
    suffixes, listed = _suffixes(), {}
    for base, since in _bases(more_bases, [adapter.base_model for adapter in reversed(adapters)]).items():
        name = next((name for name in (short_name(base), told_name(base)) if name not in listed), None)
        # Two folders of one name cannot be told apart by clients: the first one answers.
        if name is not None:
            listed[name] = Offered(name, since, _owner(base), base, withheld=base in withheld)
    for adapter in adapters:
        name = _tuned_name(adapter, suffixes)
        listed[name] = replace(_of_adapter(adapter, name), withheld=str(adapter.id) in withheld)
    return list(listed.values())


def find(name: str, more_bases: Sequence[str] = ()) -> Offered:
    """The model of this name, withheld or not. Raises ApiError 404 when there is none."""
    listed = offered(more_bases)
    if match := TUNED.fullmatch(name):
        short, adapter_id, job_id, step = match.groups()
        found = (
            next((found for found in listed if found.adapter and str(found.adapter.id) == adapter_id), None)
            if adapter_id
            else _checkpoint(name, int(job_id), int(step), listed)
        )
        # The same id is another adapter on another machine: at least it must be one of the same base.
        if found is not None and short_name(found.base) == short:
            return found
    else:
        for found in listed:
            if found.adapter is None and name in (found.name, found.base, told_name(found.base)):
                return found
    raise not_found(name)


def base_of(name: str) -> str | None:
    """The id within the product of a base model that may be tuned: one of this machine, or of the catalogue."""
    known = [found.base for found in offered() if found.adapter is None]
    for base in [*known, *(entry.id for entry in catalogue())]:
        if name in (base, told_name(base), short_name(base)):
            return base
    return None


def not_found(name: str) -> ApiError:
    """As the API's reference has it, for whatever name; and where to find a name that is right here."""
    bases = [found.name for found in offered() if found.adapter is None and not found.withheld]
    here = f" GET /v1/models lists those of this server, such as {bases[0]}." if bases else ""
    return ApiError(
        404,
        f"The model `{name[:LONGEST_SAID]}` does not exist or you do not have access to it.{here}",
        param="model",
        code="model_not_found",
    )


def withhold(name: str) -> None:
    """Offer this model no more. Raises ApiError 404 when there is none of this name."""
    found = find(name)
    if not found.withheld:
        with session() as db:
            db.add(Withheld(name=found.name if found.adapter else found.base))


def offer(name: str) -> None:
    """Offer a withheld model again. Raises ApiError 404 when there is none of this name."""
    found = find(name)
    key = str(found.adapter.id) if found.adapter else found.base
    with session() as db:
        gone = [row.id for row in db.scalars(select(Withheld)) if _key(row.name) == key]
        db.execute(delete(Withheld).where(Withheld.id.in_(gone)))


def _key(name: str) -> str:
    """What stays of a withheld name when its adapter is renamed."""
    match = TUNED.fullmatch(name)
    return str(match[2]) if match else name


def _suffixes() -> dict[int | None, str]:
    """By training job, the suffix that a client asked for."""
    with session(read_only=True) as db:
        rows = db.execute(select(FineTune.job_id, FineTune.suffix).where(FineTune.job_id.is_not(None)))
        return {job_id: suffix or "" for job_id, suffix in rows}


def _tuned_name(adapter: Adapter, suffixes: Mapping[int | None, str]) -> str:
    suffix = _slug(suffixes.get(adapter.job_id, adapter.name))
    return f"ft:{short_name(adapter.base_model)}:{get_settings().organization}:{suffix}:{adapter.id}"


def _of_adapter(adapter: Adapter, name: str) -> Offered:
    settings = get_settings()
    return Offered(
        name,
        int(adapter.created_at),
        settings.organization,
        adapter.base_model,
        adapter=adapter,
        folder=settings.home / adapter.path,
    )


def _checkpoint(name: str, job_id: int, step: int, listed: Sequence[Offered]) -> Offered | None:
    """A checkpoint that its training still keeps, or the adapter that was made of it."""
    for found in listed:
        if found.adapter and found.adapter.job_id == job_id and found.adapter.notes.get("step") == step:
            return replace(found, name=name)
    try:
        job = queue.get(job_id)
    except UserError:
        return None
    folder = queue.folder(job_id) / f"checkpoint-{step}"
    whole = any((folder / config).is_file() for config in ("adapter_config.json", "config.json"))
    if job.kind != "train" or not whole:
        return None
    settings = get_settings()
    return Offered(name, int(folder.stat().st_mtime), settings.organization, job.spec["recipe"]["model"], folder=folder)


def _bases(more: Sequence[str], of_adapters: Sequence[str]) -> dict[str, int]:
    """Base models on this machine and the moments they came here; the bundled one first.

    What adapters were trained on may have gone since; `more` is taken at its word.
    """
    found: dict[str, int] = {}
    with suppress(UserError):
        found[BUNDLED_MODEL] = int(bundled_gguf().stat().st_mtime)
    cached = _downloaded(int(time.monotonic() // REMEMBERED_S))
    for base in [*more, *of_adapters]:
        folder = Path(base)
        if folder.is_dir():
            found.setdefault(base, int(folder.stat().st_mtime))
        elif base in cached or base in more:
            found.setdefault(base, cached.get(base, int(time.time())))
    return found | cached


@lru_cache(maxsize=1)
def _downloaded(_moment: int) -> dict[str, int]:
    """The models of the hub's cache that write text, whole with weights; nothing is asked on the network."""
    from huggingface_hub.constants import HF_HUB_CACHE

    found = {}
    for config in sorted(Path(HF_HUB_CACHE).glob("models--*/snapshots/*/config.json")):
        folder = config.parent
        try:
            classes = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
        except (OSError, ValueError, AttributeError):
            continue
        writes = any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in classes)
        if writes and any(folder.glob("*.safetensors")) and any(folder.glob("tokenizer*")):
            name = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            found[name] = int(config.stat().st_mtime)
    return found


def _owner(base: str) -> str:
    """Who published it; of a folder nobody knows."""
    owner, slash, _ = told_name(base).rpartition("/")
    return owner if slash else "local"


def _slug(text: str) -> str:
    """What of a name goes into a model's: lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_SUFFIX].strip("-")
