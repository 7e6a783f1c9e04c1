"""The model card: complete, true to the records, and silent about the data's content and this machine."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import UserError
from core.jobs import queue
from core.models import package
from core.models.package import adapter_zip, client_code
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Experiment, Metric
from core.train.card import model_card, write_card
from core.train.recipe import Passages, Recipe
from tests.factories import sorting_dataset

HOSTILE = "x | y\n# Heading <script>alert(1)</script> [link](http://evil.example) `code` **bold** @you"


def make(recipe: Recipe | None = None, **more: Any) -> Adapter:
    recipe = recipe or Recipe()
    fields = {
        "name": "Sorting",
        "base_model": recipe.model,
        "method": recipe.method,
        "recipe": recipe.model_dump(),
        "path": "adapters/1",
        "eval_loss": 0.1234,
        "notes": {"step": 40, "steps": 60, "seconds": 75.2, "train_loss": 0.05, "memory_gb": 1.5, "data_hash": "ab12"},
    }
    with session() as db:
        adapter = Adapter(**(fields | more))
        db.add(adapter)
    return adapter


def front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_card_tells_data_recipe_figures_and_licence() -> None:
    dataset = sorting_dataset(train=14, test=3)
    job = queue.submit("train", {}, start=False)
    with session() as db:
        db.add_all(Metric(job_id=job, step=i, name="tokens_per_s", value=v, time=i) for i, v in enumerate((100, 300)))
    notes = {"data_hash": dataset.hash, "license": "Apache-2.0", "train_examples": 12, "step": 40, "seconds": 75.2}
    card = model_card(make(dataset_id=dataset.id, job_id=job, notes=notes))
    for expected in (
        "# Sorting\n",
        "| Base model | HuggingFaceTB/SmolLM2-135M-Instruct |",
        "| Licence of the base model | Apache-2.0 |",
        f"| Content hash | {dataset.hash} |",
        "| Examples learned from | 12 |",
        "| Examples in test | 3 |",
        "| Evaluation loss | 0.1234 |",
        "| Step that was kept | 40 |",
        "| Speed | 200 tokens/s |",
        "| rank | 16 |",
        "| learning_rate | 0.0005 |",
        "PeftModel.from_pretrained",
        "vllm serve HuggingFaceTB/SmolLM2-135M-Instruct",
        "Not checked.",
    ):
        assert expected in card, expected
    assert front_matter(card) == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "library_name": "peft",
        "license": "apache-2.0",
        "tags": ["lowest-rung", "lora"],
    }
    assert "hammer" not in card and "Which kind" not in card


def test_every_part_of_the_recipe_is_there() -> None:
    recipe = Recipe(targets=["q_proj", "v_proj"], passages=Passages(count=2), report_to=["mlflow"], packing=True)
    card = model_card(make(recipe))
    for name in Recipe.model_fields:
        assert (f"| {name} |" in card.replace("\\", "")) is (name != "model"), name
    assert "q_proj, v_proj" in card.replace("\\", "")
    assert "count 2, without_source 0.2" in card.replace("\\", "") and "| packing | yes |" in card


def test_hostile_names_stay_text() -> None:
    from markdown_it import MarkdownIt

    card = model_card(make(name=HOSTILE, notes={"license": HOSTILE, "data_name": HOSTILE, "data_hash": "ab"}))
    assert front_matter(card)["license"] == "other"
    body = card.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inline = [child for token in tokens if token.children for child in token.children]
    assert not [child for child in inline if child.type in ("link_open", "html_inline", "strong_open", "code_inline")]
    assert [token for token in tokens if token.type == "html_block"] == []
    titles = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert titles[1:] == [
        "Data",
        "Figures",
        "Measured beside other rungs",
        "What it forgot",
        "Recipe",
        "Use it",
        "Limits",
    ]


def test_folder_of_a_local_base_model_goes_by_its_name_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secret-customer" / "my-model"
    card = model_card(make(Recipe(model=str(folder))))
    assert "my-model" in card and "secret-customer" not in card
    assert "base_model" not in front_matter(card)


def test_experiments_that_used_it_are_told_with_their_verdict() -> None:
    dataset = sorting_dataset()
    adapter, other = make(dataset_id=dataset.id), make()
    report = {
        "n": 20,
        "rungs": [{"rung": "lora", "score": 0.75, "interval": [0.5, 0.9], "scored": 19, "of": 20}],
        "verdict": {"reason": "lora is the lowest rung that will do.", "rung": "lora", "outcome": "better"},
    }
    for name, by, with_report in (("Direct", "adapter_id", True), ("Pending", "adapter_id", False), ("Rag", "", True)):
        with session() as db:
            db.add(
                Experiment(
                    name=name,
                    dataset_id=dataset.id,
                    model="m",
                    metric="exact_match",
                    delta=0.05,
                    seed=0,
                    spec={} if by else {"rag_adapter_id": adapter.id},
                    report=report if with_report else None,
                    **({by: adapter.id} if by else {}),
                )
            )
    card = model_card(adapter)
    assert "**Direct**, exact_match on 20 test examples. lora is the lowest rung that will do." in card
    assert "| lora | 75.0% | 50.0 to 90.0 | 19 of 20 |" in card
    assert "**Rag**" in card and "Pending" not in card
    assert "Not yet." in model_card(other)


def test_forgetting_is_told_as_it_was_found() -> None:
    found = {"text": "Clearly forgets. It answers 15 of 40.", "before": {"of": 40}, "after": {}, "questions": []}
    assert "Clearly forgets. It answers 15 of 40." in model_card(make(notes={"forgetting": found}))


def test_card_lies_beside_the_weights() -> None:
    adapter = make()
    write_card(adapter)
    assert not (get_settings().home / adapter.path).exists()
    (get_settings().home / adapter.path).mkdir(parents=True)
    write_card(adapter)
    assert (get_settings().home / adapter.path / "README.md").read_text(encoding="utf-8") == model_card(adapter)


def test_whole_model_is_packed_with_code_that_needs_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = make(Recipe(method="full"))
    folder = get_settings().home / adapter.path
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"has lost config\.json"):
        adapter_zip(adapter, "card")
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        (folder / name).write_text(json.dumps({}), encoding="utf-8")
    card = model_card(adapter)
    with zipfile.ZipFile(BytesIO(adapter_zip(adapter, card))) as archive:
        names = ["config.json", "model.safetensors", "tokenizer.json", "README.md"]
        assert archive.namelist() == [f"model/{name}" for name in names]
        assert archive.read("model/README.md").decode() == card
    assert "trained whole" in card and "peft" not in card and "vllm serve model" in card
    code = client_code("somebody/model", "model", "full")
    compile(code, "client", "exec")
    assert "base = 'model'" in code and "somebody" not in code
    monkeypatch.setattr(package, "MOST_BYTES", 5)
    with pytest.raises(UserError, match="too much to send through a browser"):
        adapter_zip(adapter, card)
