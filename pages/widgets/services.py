"""The services whose models can be compared: their list, a form for one more, a test of the connection."""

from __future__ import annotations

import os
from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.errors import UserError
from core.models.services import OF_SERVICE, Service, delete, key_of, models_of, save, services
from core.settings import get_settings
from pages.widgets.errors import guard, plain
from pages.widgets.progress import confirmed
from pages.widgets.words import many

# Models by service, as the services listed them in this visit: nothing is asked over the network unasked.
_LISTED = "services_listed"
_EDITED = "services_edited"
ABOUT: dict[str, Any] = Service.model_json_schema()["properties"]
EXAMPLES = {"url": "https://api.openai.com/v1", "name": "openai", "key_variable": "OPENAI_API_KEY"}


def remote_models() -> list[str]:
    """Ids of the models that services have listed in this visit, to choose from; any other can be typed."""
    listed: dict[str, list[str]] = st.session_state.get(_LISTED, {})
    known = {service.name for service in services()}
    return [model for name, models in listed.items() if name in known for model in models]


def service_manager() -> None:
    """Saved services with their test, change and removal, and the form for one more. Drawn in a dialog, which stays
    open: after saving comes the test."""
    st.caption(
        "Any address that speaks the OpenAI API: OpenAI, Azure, vLLM, Ollama, another machine of yours. Their models "
        f"are called {plain(OF_SERVICE)}NAME/MODEL. Questions and passages are sent there when a comparison runs."
    )
    with guard():
        saved = services()
        for service in saved:
            _row(service)
        if not saved:
            st.caption("None so far: only models on this machine are compared.")
        edited = next((service for service in saved if service.name == st.session_state.get(_EDITED)), None)
        title = f"Change {edited.name}" if edited else "Add a service"
        with st.expander(title, icon=":material/add_link:", expanded=edited is not None):
            _form(edited)
    if get_settings().generation_url:
        st.caption(
            f"Besides, {plain('remote/MODEL')} is asked at {plain(get_settings().generation_url, 80)}, as the settings "
            "say."
        )


def _row(service: Service) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(service.name)}**  {plain(service.url, 80)}", width="stretch")
            asked = st.button("List its models", icon=":material/wifi_tethering:", key=f"service_test_{service.name}")
            if st.button("Change", icon=":material/edit:", key=f"service_edit_{service.name}"):
                st.session_state[_EDITED] = service.name
                st.rerun(scope="fragment")
            if confirmed("Remove", "Its key goes too. Answers it gave stay.", f"service_{service.name}"):
                delete(service.name)
                st.rerun(scope="fragment")
        st.caption(_in_words(service))
        if asked:
            listed = st.session_state.setdefault(_LISTED, {})
            listed.pop(service.name, None)
            with guard(), st.spinner(f"Asking {plain(service.name)}"):
                listed[service.name] = models_of(service.name)
        found = st.session_state.get(_LISTED, {}).get(service.name)
        if found is not None:
            named = ", ".join(plain(model.partition("/")[2]) for model in found[:8])
            rest = f" and {len(found) - 8} more" if len(found) > 8 else ""
            st.success(f"{many(len(found), 'model')}: {named}{rest}." if found else "It answers, and lists no models.")


def _in_words(service: Service) -> str:
    if service.price_input or service.price_output:
        price = f"{service.price_input:g} and {service.price_output:g} US dollars per million tokens in and out"
    else:
        price = "no prices given, so its answers count as free"
    if service.prices:
        price += f" ({len(service.prices)} with prices of their own)"
    pace = f", {service.requests_per_minute} a minute at most" if service.requests_per_minute else ""
    if service.key_variable and os.environ.get(service.key_variable):
        key = f"key from {service.key_variable}"
    elif service.key_variable and not key_of(service):
        key = f"{service.key_variable} is not set"
    else:
        key = "key saved" if key_of(service) else "no key"
    return plain(f"{price} · {service.concurrency} requests at once{pace} · {key}")


def _form(edited: Service | None) -> None:
    given = edited.model_dump() if edited else {}
    kept = edited.name if edited else "new"

    def value(field: str) -> Any:
        return given.get(field, Service.model_fields[field].default)

    with st.form(f"service_form_{kept}", border=False):
        with st.grid(2, min_column_width=240):
            name = st.text_input(
                "Name",
                given.get("name", ""),
                placeholder=EXAMPLES["name"],
                disabled=edited is not None,
                help=ABOUT["name"]["description"],
                key=f"service_name_{kept}",
            )
            url = st.text_input(
                "Address",
                given.get("url", ""),
                placeholder=EXAMPLES["url"],
                help=ABOUT["url"]["description"],
                key=f"service_url_{kept}",
            )
            key = st.text_input(
                "Key",
                type="password",
                placeholder="Unchanged" if edited else "None",
                help="Kept in a file that only you can read, never in the records. Better still, name a variable.",
                key=f"service_key_{kept}",
                autocomplete="off",
            )
            variable = st.text_input(
                "Or the variable that holds the key",
                value("key_variable"),
                placeholder=EXAMPLES["key_variable"],
                help=ABOUT["key_variable"]["description"],
                key=f"service_variable_{kept}",
            )
            price_in = st.number_input(
                "Price of prompts, USD per million tokens",
                0.0,
                value=float(value("price_input")),
                help="For the forecast, the spending cap and the cost of each rung.",
                key=f"service_price_in_{kept}",
            )
            price_out = st.number_input(
                "Price of answers, USD per million tokens",
                0.0,
                value=float(value("price_output")),
                key=f"service_price_out_{kept}",
            )
            concurrency = st.number_input(
                "Requests at once", 1, 256, int(value("concurrency")), key=f"service_concurrency_{kept}"
            )
            per_minute = st.number_input(
                "Requests a minute at most",
                1,
                value=value("requests_per_minute"),
                placeholder="No limit",
                key=f"service_pace_{kept}",
            )
            timeout = st.number_input(
                "Seconds to wait for an answer", 1.0, 3600.0, float(value("timeout_s")), key=f"service_timeout_{kept}"
            )
        if st.form_submit_button("Save", type="primary", icon=":material/save:"):
            with guard():
                save(
                    _checked(
                        name=edited.name if edited else name.strip(),
                        url=url,
                        key_variable=variable.strip(),
                        price_input=price_in,
                        price_output=price_out,
                        prices=value("prices") if edited else {},
                        concurrency=int(concurrency),
                        requests_per_minute=None if per_minute is None else int(per_minute),
                        timeout_s=timeout,
                    ),
                    key.strip() or None,
                )
                st.session_state.pop(_EDITED, None)
                st.rerun(scope="fragment")


def _checked(**fields: Any) -> Service:
    """Raises UserError in the words of the form."""
    try:
        return Service.model_validate(fields)
    except ValidationError as error:
        labels = {"name": "Name", "url": "Address", "key_variable": "Variable"}
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            field = str(problem["loc"][0])
            said = str(problem["msg"]).removeprefix("Value error, ")
            if field == "name":
                said = "use letters, digits, dots and dashes only, and up to 40 of them"
            lines.append(f"{labels.get(field, field)}: {said}.")
        raise UserError(lines[0], "\n".join(lines[1:]) or "Correct it and save again.") from error
