"""What models are called, which are offered, and what is in memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx2
import openai
import pytest
from openai.types import Model

from core.api import models, names
from core.api.errors import ApiError
from core.api.models import Models
from core.jobs import queue
from core.models.catalogue import BUNDLED_MODEL
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, FineTune, Job
from core.train import adapters
from tests.api.conftest import Served

LLAMA = "meta-llama/Llama-3.2-1B-Instruct"


def adapter(name: str = "Fruit & Tools", base: str = BUNDLED_MODEL, **more: object) -> Adapter:
    made = Adapter(name=name, base_model=base, method="lora", path="adapters/1", **more)
    with session() as db:
        db.add(made)
    return made


def training(base: str = BUNDLED_MODEL) -> Job:
    job = Job(kind="train", status="done", spec={"recipe": {"model": base}, "name": "Fruit", "dataset_id": 1})
    with session() as db:
        db.add(job)
    return job


def unknown(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        names.find(name)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("base", "short"),
    [
        (BUNDLED_MODEL, "smollm2-135m"),
        (LLAMA, "llama-3.2-1b"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("/data/models/My Model", "my-model"),
        ("/data/models/tiny/", "tiny"),
    ],
)
def test_short_names_of_bases(base: str, short: str) -> None:
    assert names.short_name(base) == short


def test_the_bundled_base_answers_to_each_of_its_names() -> None:
    for name in ("smollm2-135m", BUNDLED_MODEL, "HuggingFaceTB/SmolLM2-135M-Instruct"):
        assert names.find(name).base == BUNDLED_MODEL
    unknown("smollm2")
    unknown("")


def test_an_adapter_is_named_in_the_form_people_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_ORGANIZATION", "acme")
    get_settings.cache_clear()
    made = adapter()
    assert models.public_name(made) == f"ft:smollm2-135m:acme:fruit-tools:{made.id}"


def test_a_client_s_own_suffix_counts_also_when_there_is_none() -> None:
    for suffix, told in ((None, ""), ("My-Model", "my-model")):
        job = training()
        with session() as db:
            more = {"training_file": "file-1", "seed": 0, "model": "smollm2-135m"}
            db.add(FineTune(public_id=f"ftjob-{job.id}", job_id=job.id, suffix=suffix, **more))
        made = adapter("ftjob-1", job_id=job.id)
        assert models.public_name(made) == f"ft:smollm2-135m:lowest-rung:{told}:{made.id}"


def test_an_adapter_whose_training_is_forgotten_keeps_its_name() -> None:
    with session() as db:
        db.add(FineTune(public_id="ftjob-1", job_id=None, suffix="other", training_file="file-1", seed=0, model="x"))
    made = adapter("Mine")
    assert models.public_name(made) == f"ft:smollm2-135m:lowest-rung:mine:{made.id}"


def test_an_old_name_goes_on_working(monkeypatch: pytest.MonkeyPatch) -> None:
    made = adapter("First")
    old = models.public_name(made)
    adapters.rename(made.id, "Second")
    monkeypatch.setenv("LOWEST_RUNG_ORGANIZATION", "acme")
    get_settings.cache_clear()
    found = names.find(old)
    assert found.adapter is not None and found.adapter.id == made.id
    assert found.name != old
    # The same number under another base is another machine's adapter.
    unknown(old.replace("smollm2-135m", "llama-3.2-1b"))
    unknown("ft:smollm2-135m:acme::99")
    unknown("ft:smollm2-135m:acme:12")


def test_deleted_adapters_are_gone_and_come_back() -> None:
    made = adapter()
    name = models.public_name(made)
    adapters.delete(made.id)
    unknown(name)
    assert [found.name for found in models.offered() if found.adapter] == []
    adapters.restore(made.id)
    assert names.find(name).adapter is not None


def test_what_is_withheld_is_listed_for_its_owner_alone() -> None:
    made = adapter()
    name = models.public_name(made)
    serving = Models()
    for hidden in (name, "HuggingFaceTB/SmolLM2-135M-Instruct"):
        models.withhold(hidden)
        models.withhold(hidden)
        assert names.find(hidden).withheld
        with pytest.raises(ApiError, match="does not exist"):
            serving.named(hidden)
    assert serving.offered() == []
    adapters.rename(made.id, "Another")
    assert names.find(name).withheld
    models.offer(name)
    models.offer("smollm2-135m")
    assert [found.withheld for found in models.offered()] == [False, False]


def test_two_folders_of_one_name_do_not_hide_each_other_s_adapters(tmp_path: Path) -> None:
    made = []
    for place in ("a", "b"):
        (tmp_path / place / "tiny").mkdir(parents=True)
        made.append(adapter(place, str(tmp_path / place / "tiny")))
    listed = [found.name for found in models.offered()]
    assert listed.count("tiny") == 1
    assert [names.find(models.public_name(one)).base for one in made] == [one.base_model for one in made]
    # Where a folder lies is nobody's business.
    assert str(tmp_path) not in "".join(listed)


def test_models_of_the_hub_s_cache_are_offered_if_they_write_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    for name, config in (
        ("models--acme--Writer-Instruct", '{"architectures": ["LlamaForCausalLM"]}'),
        ("models--acme--embedder", '{"architectures": ["BertModel"]}'),
        ("models--acme--broken", "{"),
    ):
        folder = tmp_path / name / "snapshots" / "abc"
        folder.mkdir(parents=True)
        for file in ("model.safetensors", "tokenizer.json"):
            (folder / file).touch()
        (folder / "config.json").write_text(config)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    names._downloaded.cache_clear()
    try:
        assert [found.name for found in models.offered()] == ["smollm2-135m", "writer"]
        assert names.find("acme/Writer-Instruct").owned_by == "acme"
    finally:
        names._downloaded.cache_clear()


def test_what_may_be_tuned_is_more_than_what_answers() -> None:
    assert models.base_of("smollm2-135m") == BUNDLED_MODEL
    assert models.base_of(LLAMA) == models.base_of("llama-3.2-1b") == LLAMA
    assert models.base_of("gpt-4o") is None
    assert models.base_of(models.public_name(adapter())) is None


def test_checkpoints_answer_as_long_as_they_are_kept() -> None:
    job = training()
    name = models.checkpoint_name(job, 4)
    assert name == f"ft:smollm2-135m:lowest-rung:fruit:job{job.id}:ckpt-step-4"
    unknown(name)
    folder = queue.folder(job.id) / "checkpoint-4"
    folder.mkdir()
    unknown(name)
    (folder / "adapter_config.json").touch()
    assert names.find(name).folder == folder
    # The adapter that was made of it is the same weights.
    made = adapter(job_id=job.id, notes={"step": 4})
    assert names.find(name).folder == get_settings().home / made.path
    assert names.find(name).name == name


# Over a real connection


def test_models_are_listed_looked_at_and_deleted_by_the_official_client(server: Served, client: openai.OpenAI) -> None:
    made = adapter("Mine", str(server.models._more[0]))
    name = models.public_name(made)
    listed = client.models.list().data
    assert {"tiny", "smollm2-135m", "all-minilm-l6-v2", name} == {model.id for model in listed}
    assert all(Model.model_validate(model.model_dump()) == model and model.object == "model" for model in listed)
    assert client.models.retrieve(name).owned_by == "lowest-rung"
    assert client.models.retrieve(BUNDLED_MODEL).id == "smollm2-135m"
    assert client.models.retrieve("all-minilm-l6-v2").owned_by == "sentence-transformers"
    gone = client.models.delete(name)
    assert (gone.id, gone.deleted, gone.object) == (name, True, "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)
    assert [kept.id for kept in adapters.deleted()] == [made.id]


def test_a_base_cannot_be_deleted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.models.delete("tiny")
    assert caught.value.code == "insufficient_permissions"


# In memory


def test_a_base_is_opened_once_however_many_ask_for_it_first(tiny_model: Path) -> None:
    serving = Models([str(tiny_model)])
    found = []
    threads = [threading.Thread(target=lambda: found.append(serving.engine_for("tiny")[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(engine) for engine in found}) == 1 and len(found) == 8
    assert serving.running_and_waiting() == (0, 0)
    serving.close()
    assert not found[0]._thread.is_alive()


def test_an_idle_base_goes_when_another_is_asked_for(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").symlink_to(tiny_model)
    serving = Models([str(tiny_model), str(tmp_path / "other")])
    try:
        first, _, _ = serving.engine_for("tiny")
        # One that was just handed out may be about to be asked.
        monkeypatch.setattr(models, "_fits", lambda _: False)
        with pytest.raises(ApiError) as caught:
            serving.engine_for("other")
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "5")
        monkeypatch.setattr(models, "HANDED_OUT_S", 0.0)
        time.sleep(0.01)
        second, _, _ = serving.engine_for("other")
        assert second is not first
        assert list(serving._held) == [str(tmp_path / "other")]
    finally:
        serving.close()


def test_a_base_that_cannot_be_opened_is_the_server_s_fault(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    with pytest.raises(ApiError) as caught:
        Models([str(tmp_path / "broken")]).engine_for("broken")
    assert (caught.value.status, caught.value.type) == (503, "server_error")
    assert str(tmp_path) not in caught.value.message


def test_an_unknown_model_is_refused_by_every_route(server: Served) -> None:
    chat = {"model": "gpt-9", "messages": [{"role": "user", "content": "Hello"}]}
    for path, body in (("chat/completions", chat), ("completions", {"model": "gpt-9", "prompt": "Hello"})):
        answer = httpx2.post(f"{server.url}/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
