"""The job that exports: a merged model, a GGUF file, or a push to the hub."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs.context import JobContext
from core.models.access import describe
from core.models.identity import adapter_fingerprint
from core.models.loading import load_tokenizer
from core.models.package import public_name
from core.publish import exports, gguf, hub
from core.publish.card import gguf_card
from core.publish.checking import EXAMPLES, Check, OnProgress, answers_of, compared, questions_for
from core.publish.exports import FILES, Export
from core.publish.merge import exact_device, merge
from core.publish.ollama import modelfile
from core.settings import get_settings
from core.store import lists
from core.store.tables import Adapter

# What converting takes beside the answers, in answers: a guess for the progress bar.
CONVERTING = 4.0


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `adapter_id`, `what` ("merged", "gguf" with a `kind`, "hub": see `hub.run`), maybe `examples` to check by.

    Stopped or killed, it begins again: nothing is shown before it is whole.
    """
    if context.spec["what"] == "hub":
        return hub.run(context)
    if not exports.made(context.job_id):
        shutil.rmtree(context.folder / FILES, ignore_errors=True)
        adapter = lists.adapter(context.spec["adapter_id"])
        (_merged if context.spec["what"] == "merged" else _gguf)(context, adapter)
    made = exports.export(context.job_id)
    return {"export_id": made.id, "text": made.check["text"] if made.check else made.notes.get("unchecked", "")}


def _merged(context: JobContext, adapter: Adapter) -> None:
    found = merge(adapter, context.folder / FILES, _count(context), _report(context))
    exports.keep(_record(context, adapter, found.live, found.check), context.folder / FILES)


def _gguf(context: JobContext, adapter: Adapter) -> None:
    """Of the merged model: an export of the same weights, or one made for this in the job's own folder."""
    found, kind = gguf.tools(), context.spec["kind"]
    if found is None:
        raise UserError("llama.cpp's converter is not installed.", "The Serve page tells how to get it.")
    merged, live = _merged_for(context, adapter)
    size = sum(path.stat().st_size for path in merged.glob("*.safetensors"))
    exports.need_room(size * (found.types[kind] + 16) / 32)
    report, total = _report(context), 2.0 * len(live) + CONVERTING
    files = context.folder / FILES
    files.mkdir()
    file = files / f"model-{kind}.gguf"
    report(len(live), total, f"Converting to {kind}")
    gguf.convert(found, merged, file, kind, adapter.name, context.log, context.check_stop)
    check, unchecked = None, ""
    done = len(live) + CONVERTING
    report(done, total, "Reading the GGUF file back")
    try:
        loaded = gguf.open_gguf(file, exact_device(size))
    except UserError as error:
        unchecked = f"Its answers were not checked. {error}"
    else:
        questions = questions_for(adapter, _count(context))
        again = answers_of(loaded, loaded.model, questions, lambda n: report(done + n, total, "Asking the GGUF file"))
        check = compared(questions, live, again)
    _write_beside(file, adapter, merged, check.text if check else unchecked)
    exports.keep(_record(context, adapter, live, check, kind=kind, unchecked=unchecked), files)
    shutil.rmtree(context.folder / "merged", ignore_errors=True)


def _merged_for(context: JobContext, adapter: Adapter) -> tuple[Path, list[str]]:
    """The folder of a merged model of these very weights, and the live adapter's answers to the same questions."""
    identity = _identity(adapter, _count(context))
    for made in exports.exports(adapter.id):
        if made.what == "merged" and made.identity == identity:
            return made.folder, made.live
    kept = context.folder / "merged.json"
    if kept.is_file() and (stored := json.loads(kept.read_text(encoding="utf-8")))["identity"] == identity:
        return context.folder / "merged", stored["live"]
    found = merge(adapter, context.folder / "merged", _count(context), _report(context))
    # Written last: with it the folder is whole, and a resumed job goes on from there.
    kept.write_text(json.dumps({"identity": identity, "live": found.live}), encoding="utf-8")
    return found.folder, found.live


def _write_beside(file: Path, adapter: Adapter, merged: Path, check: str) -> None:
    """The Modelfile and the card."""
    from transformers import GenerationConfig

    tokenizer = load_tokenizer(str(merged))
    ends = GenerationConfig.from_pretrained(merged).eos_token_id
    text = modelfile(tokenizer, file.name, ends if isinstance(ends, list) else [ends], describe(str(merged)).context)
    file.with_name("Modelfile").write_text(text, encoding="utf-8")
    file.with_name("README.md").write_text(gguf_card(adapter, file.name, check), encoding="utf-8")


def _record(context: JobContext, adapter: Adapter, live: list[str], check: Check | None, **notes: Any) -> Export:
    return Export(
        id=context.job_id,
        adapter_id=adapter.id,
        adapter_name=adapter.name,
        base=public_name(adapter.base_model),
        what=context.spec["what"],
        check=check.as_dict() if check else None,
        identity=_identity(adapter, _count(context)),
        live=live,
        notes=notes,
    )


def _identity(adapter: Adapter, count: int) -> str:
    """The same exactly where the weights and the questions put to them are."""
    weights = adapter_fingerprint(get_settings().home / adapter.path)
    asked = json.dumps([adapter.base_model, weights, questions_for(adapter, count).chats])
    return hashlib.sha256(asked.encode()).hexdigest()


def _count(context: JobContext) -> int:
    return int(context.spec.get("examples", EXAMPLES))


def _report(context: JobContext) -> OnProgress:
    """Tells how far the job is, and ends it where it was asked to stop."""

    def told(done: float, total: float, message: str) -> None:
        context.check_stop()
        context.progress(done, total, message)

    return told
