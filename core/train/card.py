"""The model card: what an adapter is, what it was made of and how well it does, as the README.md beside its weights.

Nothing of the data's content is in it, and nothing of this machine: cards travel with the weights.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import func, or_, select

from core.markdown import flat, for_markdown
from core.models.catalogue import catalogue
from core.models.package import client_code, public_name, vllm_command
from core.settings import REPOSITORY, get_settings
from core.store.database import session
from core.store.tables import Adapter, Dataset, Experiment, Metric

KINDS = {
    "lora": "A LoRA adapter",
    "qlora": "A LoRA adapter, trained with the base model in four bits (QLoRA),",
    "rslora": "A rank-stabilised LoRA adapter",
    "dora": "A DoRA adapter",
}
# Licences that the hub knows by these names; it calls all others "other".
HUB_LICENSES = ("apache-2.0", "mit")


def model_card(adapter: Adapter) -> str:
    """Markdown that begins with the metadata which the Hugging Face hub reads."""
    notes, whole = adapter.notes, adapter.method == "full"
    with session(read_only=True) as db:
        dataset = db.get(Dataset, adapter.dataset_id) if adapter.dataset_id is not None else None
        used_in = _experiments(db.scalars(_compared(adapter)))
        speed = db.scalar(
            select(func.avg(Metric.value)).where(Metric.job_id == adapter.job_id, Metric.name == "tokens_per_s")
        )
    base, license_ = public_name(adapter.base_model), notes.get("license") or _license(adapter.base_model)
    folder = "model" if whole else "adapter"
    card: str = _template().render(
        adapter=adapter,
        whole=whole,
        kind=KINDS.get(adapter.method, "An adapter"),
        base=base,
        license=license_,
        head=_head(adapter, base, license_),
        made=dt.datetime.fromtimestamp(adapter.created_at, dt.UTC).date().isoformat(),
        data={
            "name": dataset.name if dataset else notes.get("data_name"),
            "hash": notes.get("data_hash") or (dataset.hash if dataset else None),
            "learned": notes.get("train_examples"),
            "counts": dataset.notes.get("counts", {}) if dataset else {},
            "split": dataset.notes.get("split") if dataset else None,
        },
        figures=_figures(adapter, speed),
        experiments=used_in,
        forgetting=notes.get("forgetting"),
        recipe=[(name, _plainly(value)) for name, value in adapter.recipe.items() if name != "model"],
        client=client_code(base, folder, adapter.method),
        server=vllm_command(base, int(adapter.recipe.get("rank", 16)), folder, adapter.method),
    )
    return card


def write_card(adapter: Adapter) -> None:
    """Put the card as it is now beside the weights; without them there is nothing to describe."""
    folder = get_settings().home / adapter.path
    if folder.is_dir():
        (folder / "README.md").write_text(model_card(adapter), encoding="utf-8")


def _head(adapter: Adapter, base: str, license_: str) -> str:
    """Front matter in the hub's own keys."""
    facts: dict[str, Any] = {"tags": ["lowest-rung", adapter.method]}
    if adapter.method != "full":
        facts["library_name"] = "peft"
    if base == adapter.base_model or base != Path(adapter.base_model).name:
        facts["base_model"] = base  # a folder of somebody's machine would be no name there
    if license_.lower() in HUB_LICENSES:
        facts["license"] = license_.lower()
    elif license_:
        facts |= {"license": "other", "license_name": flat(license_)}
    return f"---\n{yaml.safe_dump(facts, sort_keys=True)}---\n"


def _license(model_id: str) -> str:
    return next((entry.license for entry in catalogue() if entry.id == model_id), "")


def _figures(adapter: Adapter, speed: float | None) -> list[tuple[str, str]]:
    notes = adapter.notes
    found = [
        ("Evaluation loss", adapter.eval_loss, "{:.4f}"),
        ("Training loss", notes.get("train_loss"), "{:.4f}"),
        ("Step that was kept", notes.get("step"), "{:,}"),
        ("Steps taken", notes.get("steps"), "{:,}"),
        ("Tokens learned from", notes.get("learned_tokens"), "{:,}"),
        ("Time", notes.get("seconds"), "{:,.0f} s"),
        ("Memory at most", notes.get("memory_gb"), "{:.2f} GB"),
        ("Speed", speed, "{:,.0f} tokens/s"),
    ]
    return [(name, form.format(value)) for name, value, form in found if value is not None]


def _compared(adapter: Adapter) -> Any:
    """The finished experiments that used the adapter, newest first."""
    used = [Experiment.adapter_id == adapter.id, Experiment.spec["rag_adapter_id"].as_integer() == adapter.id]
    if adapter.job_id is not None:
        used.append(Experiment.train_job_id == adapter.job_id)
    return select(Experiment).where(Experiment.report.is_not(None), or_(*used)).order_by(Experiment.id.desc())


def _experiments(found: Iterable[Experiment]) -> list[dict[str, Any]]:
    """What the card tells of each experiment that has a report."""
    return [
        {
            "name": experiment.name,
            "metric": experiment.metric,
            "n": report["n"],
            "reason": report["verdict"]["reason"],
            "rows": [
                {
                    "rung": row["rung"],
                    "score": f"{100 * row['score']:.1f}%",
                    "range": f"{100 * row['interval'][0]:.1f} to {100 * row['interval'][1]:.1f}",
                    "answered": f"{row['scored']} of {row['of']}",
                }
                for row in report["rungs"]
            ],
        }
        for experiment in found
        if (report := experiment.report) is not None
    ]


def _plainly(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plainly(one)}" for name, one in value.items())
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(REPOSITORY / "assets"),
        autoescape=False,  # noqa: S701 (Markdown is escaped by `finalize`)
        finalize=for_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2")
