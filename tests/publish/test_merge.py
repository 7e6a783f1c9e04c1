"""Merged models answer as the live adapter does, or the check says where they do not."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.errors import UserError
from core.jobs import queue
from core.jobs.run import run_foreground
from core.models.generation import Request, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.publish import exports, merge
from core.publish.checking import Questions, compared, questions_for
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Job
from tests.factories import sorting_dataset
from tests.publish.weights import an_adapter

pytestmark = pytest.mark.integration
EXAMPLES = 6


def export(adapter: Adapter, what: str = "merged", **more: Any) -> exports.Export:
    spec = {"adapter_id": adapter.id, "what": what, "examples": EXAMPLES} | more
    job = run_foreground("export", spec)
    assert job.status == "done", f"{job.error} {job.traceback}"
    return exports.export(job.result["export_id"])


def answers(model: str, chats: list[Any], adapter: Path | None = None) -> list[str]:
    requests = [Request(chat, adapter) for chat in chats]
    found = [pair for batch in LocalGenerator(load_model(model)).answer(requests, Sampling(24)) for pair in batch]
    return [completion.text for _, completion in sorted(found, key=lambda pair: pair[0])]


@pytest.mark.parametrize("method", ["lora", "qlora", "rslora", "dora", "full"])
def test_merged_model_answers_like_the_live_adapter(tiny_model: Path, method: str) -> None:
    adapter = an_adapter(tiny_model, method, sorting_dataset(test=EXAMPLES).id)
    made = export(adapter)
    assert made.check is not None
    assert (made.check["same"], made.check["of"], made.check["good"]) == (EXAMPLES, EXAMPLES, True)
    # Not only by its own word: asked here through the product's usual ways.
    chats = questions_for(adapter, EXAMPLES).chats
    said = answers(str(made.folder), chats)
    assert said == answers(str(tiny_model), chats, get_settings().home / adapter.path)
    assert said != answers(str(tiny_model), chats)


def test_what_travels_names_no_folder_of_this_machine(tiny_model: Path, home: Path) -> None:
    made = export(an_adapter(tiny_model, dataset_id=sorting_dataset(test=EXAMPLES).id))
    names = {path.name for path in made.folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "adapter-card.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    for path in made.folder.iterdir():
        content = path.read_bytes()
        assert str(home).encode() not in content and str(tiny_model).encode() not in content, path.name
    questions = questions_for(an_adapter(tiny_model, name="other"), 1)
    assert questions.chats[0][-1]["content"].encode() not in (made.folder / "README.md").read_bytes()
    assert json.loads((made.folder / "config.json").read_text())["dtype"] == "float32"


def test_qlora_says_that_it_was_trained_on_four_bits(tiny_model: Path) -> None:
    made = export(an_adapter(tiny_model, "qlora", sorting_dataset(test=EXAMPLES).id))
    card = (made.folder / "README.md").read_text()
    assert "NF4" in card and f"all {EXAMPLES} test examples exactly" in card


def test_adapter_without_data_is_checked_on_general_questions(tiny_model: Path) -> None:
    made = export(an_adapter(tiny_model))
    assert made.check is not None and made.check["source"] == "general" and made.check["of"] == EXAMPLES


def test_merge_that_went_wrong_is_shown_and_not_called_good(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault put in on purpose: the base is saved as if it were the merged model."""
    monkeypatch.setattr(merge, "_merged", lambda network, name: network.unload())
    made = export(an_adapter(tiny_model, dataset_id=sorting_dataset(test=EXAMPLES).id))
    check = made.check
    assert check is not None and check["same"] < EXAMPLES and len(check["differences"]) >= 1
    first = check["differences"][0]
    assert first["live"] != first["exported"] and "number" in first["prompt"]
    assert f"{check['same']} of {EXAMPLES}" in check["text"]


def scored(before: list[float], after: list[float]) -> Any:
    """A check of answers that all differ, with these scores."""
    scores = iter((before, after))
    chats: list[list[Any]] = [[{"role": "user", "content": f"q{i}"}] for i in range(len(before))]
    groups = [str(i) for i in range(len(before))]
    questions = Questions(chats, groups, "test", "exact match", "binary", lambda texts: next(scores))
    return compared(questions, ["a"] * len(before), ["b"] * len(before))


def test_other_words_of_the_same_worth_are_equivalent_and_worse_ones_are_not() -> None:
    alike = scored([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert alike.verdict == "equivalent" and alike.good and alike.live_score == pytest.approx(2 / 3)
    worse = scored([1.0] * 20, [0.0] * 20)
    assert worse.verdict == "different" and not worse.good
    assert "0.0%" in worse.text and "100.0%" in worse.text
    doubtful = scored([1.0] * 19 + [0.0], [1.0] * 18 + [0.0, 1.0])
    assert doubtful.verdict == "different", "twenty examples cannot show that two changes cancel out"


def test_lost_or_broken_weights_end_with_a_sentence(tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    adapter = an_adapter(tiny_model)
    file = get_settings().home / adapter.path / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor.fill_(float("nan")) for name, tensor in tensors.items()}, file)
    job = run_foreground("export", {"adapter_id": adapter.id, "what": "merged", "examples": 2})
    assert job.status == "failed" and "not numbers" in job.error and not exports.exports()
    file.unlink()
    job = run_foreground("export", {"adapter_id": adapter.id, "what": "merged", "examples": 2})
    assert "has lost its file" in job.error


def test_killed_between_storing_and_reporting_finds_its_export_again(tiny_model: Path) -> None:
    made = export(an_adapter(tiny_model))
    stamp = (made.folder / "model.safetensors").stat().st_mtime_ns
    with session() as db:
        db.execute(update(Job).where(Job.id == made.id).values(status="interrupted", result={}))
    queue.resume(made.id)
    while queue.get(made.id).status in queue.ACTIVE:
        time.sleep(0.2)
        queue.dispatch()
    assert queue.get(made.id).result["export_id"] == made.id
    assert (made.folder / "model.safetensors").stat().st_mtime_ns == stamp, "nothing was merged twice"


def test_disk_without_room_is_said_before_the_work(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    job = run_foreground("export", {"adapter_id": an_adapter(tiny_model).id, "what": "merged"})
    assert job.status == "failed" and "of disk" in job.error


def test_exports_are_listed_sized_packed_and_deleted(tiny_model: Path) -> None:
    adapter = an_adapter(tiny_model)
    made = export(adapter)
    assert [one.id for one in exports.exports(adapter.id)] == [made.id] and exports.exports(adapter.id + 1) == []
    assert made.bytes == sum(path.stat().st_size for path in made.folder.iterdir()) > 1_000_000
    with zipfile.ZipFile(io.BytesIO(exports.zipped(made))) as archive:
        assert "merged/model.safetensors" in archive.namelist() and "export.json" not in str(archive.namelist())
    exports.delete(made.id)
    assert exports.exports() == [] and not made.folder.exists()
    with pytest.raises(UserError, match="no export"):
        exports.export(made.id)
