"""What closes when at the providers, in words that a product manager understands; dates are read from the table.

OpenAI's self-serve fine-tuning is closing, step by step, so everything here is asked with a day.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from core.managed.providers import kind_of, known_model, on_this_machine, rules
from core.models.services import Service

HERE = "Train the same on this machine: the same data by the same API, on your own hardware."
TRAINING_NOT_AVAILABLE = "training_not_available"


@dataclass(frozen=True)
class Notice:
    """A thing worth knowing before money is spent. With level "error" nothing can be started.

    `source` is the page that says so, `read` the day it was read; both empty for what follows from the data.
    """

    level: Literal["info", "warning", "error"]
    what: str
    remedy: str = ""
    source: str = ""
    read: dt.date | None = None


def notices(service: Service, base_model: str = "", today: dt.date | None = None) -> list[Notice]:
    """What is known about a provider and a base model on that day, without asking anybody."""
    today = today or dt.date.today()
    kind = kind_of(service)
    if kind == "openai":
        model = [*model_notices(base_model, today)] if base_model else []
        return [openai_notice(today), *model]
    if kind == "azure":
        return [
            Notice(
                "info",
                "At Azure a fine-tuned model must be deployed before it can be asked, and a deployment is charged by "
                "the hour, asked or not.",
                "Deploy it in Azure's portal once it is trained, and name the deployment here.",
                "https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/fine-tuning-deploy",
            )
        ]
    if on_this_machine(service):
        return [Notice("info", "A server on this machine does the work: nothing is uploaded to anybody else.")]
    return []


def openai_notice(today: dt.date) -> Notice:
    """Whether OpenAI still takes fine-tuning jobs on that day, and whose."""
    closing = rules().openai
    if today >= closing.training_ends:
        what = f"OpenAI takes no more fine-tuning jobs, from anybody, since {day(closing.training_ends)}."
        return Notice("error", what, HERE, closing.source, closing.read)
    shut = []
    if today >= closing.closed_to_new:
        shut.append(f"since {day(closing.closed_to_new)} from organisations that had never fine-tuned")
    if today >= closing.closed_to_inactive:
        shut.append(
            f"since {day(closing.closed_to_inactive)} from those that have not asked a fine-tuned model in the last "
            f"{closing.inactive_days} days"
        )
    taken = f" It takes no jobs {', and '.join(shut)}." if shut else ""
    left = (closing.training_ends - today).days
    what = f"OpenAI ends fine-tuning on {day(closing.training_ends)}, in {days(left)}.{taken}"
    remedy = f"If it says training_not_available, yours is one of those. {HERE}" if shut else HERE
    return Notice("warning", what, remedy, closing.source, closing.read)


def model_notices(base_model: str, today: dt.date) -> list[Notice]:
    """Until when an OpenAI model, and so every fine-tune of it, can be asked."""
    known, closing = known_model(base_model), rules().openai
    if known is None:
        what = f"{base_model} is not among the models that OpenAI is known to fine-tune."
        return [Notice("warning", what, "Check its name.", closing.source, closing.read)]
    return [switched_off(known.id, known.shuts_down, today)] if known.shuts_down else []


def switched_off(model: str, shuts_down: dt.date, today: dt.date) -> Notice:
    """`shuts_down` is the day from which nobody can ask the model or a fine-tune of it."""
    closing = rules().openai
    if today >= shuts_down:
        what = f"{model} was switched off on {day(shuts_down)}, and with it every fine-tune of it."
        return Notice("error", what, "Choose another base model.", closing.source, closing.read)
    left = (shuts_down - today).days
    works = f"what you pay for works for another {days(left)}"
    what = f"{model}, and every fine-tune of it, is switched off on {day(shuts_down)}: {works}."
    return Notice("warning", what, "Plan what follows it, or train an open model now.", closing.source, closing.read)


def training_not_available(today: dt.date) -> tuple[str, str]:
    """(what, remedy) for OpenAI's refusal of that name: which of its reasons it can be on that day."""
    closing = rules().openai
    if today >= closing.training_ends:
        return f"OpenAI ended fine-tuning for everybody on {day(closing.training_ends)}.", HERE
    what = (
        "OpenAI does not let your organisation fine-tune any more (training_not_available): it either had never "
        f"fine-tuned before {day(closing.closed_to_new)}, or has not asked a fine-tuned model in the last "
        f"{closing.inactive_days} days, which it demands since {day(closing.closed_to_inactive)}."
    )
    return what, f"Nothing was charged. {HERE}"


def day(date: dt.date) -> str:
    """ "6 January 2027"."""
    return f"{date.day} {date:%B %Y}"


def days(count: int) -> str:
    """ "1 day", "53 days"."""
    return f"{count} day{'' if count == 1 else 's'}"
