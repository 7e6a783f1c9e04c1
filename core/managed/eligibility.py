"""Whether a provider would take a job from you today: asked of it by two calls that cost nothing."""

from __future__ import annotations

import datetime as dt

from core.errors import UserError
from core.managed.calendar import HERE, Notice, openai_notice, switched_off
from core.managed.calls import Provider, Refused
from core.managed.providers import kind_of, rules
from core.models.services import service

# Somebody waits for the page.
PATIENCE_S = 3.0


def eligibility(service_name: str, base_model: str = "", today: dt.date | None = None) -> Notice:
    """What speaks against it, the weightiest first; level "info" when nothing does. Never raises for what is refused.

    OpenAI tells nobody beforehand whether their organisation may still train. Its list of earlier fine-tunes tells
    half of it: who has none, is a newcomer. Since 2026 its models also say when they are switched off.
    """
    today = today or dt.date.today()
    asked = service(service_name)
    is_openai = kind_of(asked) == "openai"
    if is_openai and openai_notice(today).level == "error":
        return openai_notice(today)
    provider = Provider(asked)
    try:
        page = provider.ask(
            lambda client: client.fine_tuning.jobs.list(limit=1),
            lambda page: isinstance(page.data, list),
            patience_s=PATIENCE_S,
        )
        shuts_down = _shutdown(provider, base_model) if base_model else None
    except Refused as refused:
        if refused.status in (404, 405):
            what = f"{service_name} has no fine-tuning at this address ({refused.status})."
            return Notice("error", what, "Choose another service, or correct its address.")
        return Notice("error", refused.what, refused.remedy)
    except UserError as error:
        return Notice("error", error.what, "Check the address and the network.")
    if shuts_down is not None:
        dated = switched_off(base_model, shuts_down, today)
        if dated.level == "error":
            return dated
    if is_openai and not page.data and today >= rules().openai.closed_to_new:
        what = "Your organisation has no earlier fine-tune at OpenAI, which takes jobs from newcomers no more."
        return Notice("warning", f"{what} It will most likely answer training_not_available.", HERE)
    if shuts_down is not None:
        return switched_off(base_model, shuts_down, today)
    return Notice("info", f"{service_name} answers, and lists its fine-tuning jobs: nothing speaks against it.")


def _shutdown(provider: Provider, base_model: str) -> dt.date | None:
    """The day that the provider's own list of models names, if it names one."""
    try:
        model = provider.ask(lambda client: client.models.retrieve(base_model), patience_s=PATIENCE_S)
        text = getattr(model, "shutdown_date", None)
        return dt.date.fromisoformat(text) if isinstance(text, str) else None
    except (UserError, ValueError):
        return None
