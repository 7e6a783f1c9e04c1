"""Before a training at a provider starts: what closes when, what is wrong with the data, the price, and the start."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from urllib.parse import urlsplit

import streamlit as st

from core.jobs import queue
from core.managed.calendar import Notice
from core.managed.eligibility import eligibility
from core.managed.outgoing import MAX_LISTED, Outgoing
from core.managed.plan import Prepared, TuneSettings, prepare, start
from core.managed.providers import THIS_MACHINE
from core.models.services import Service
from core.store.tables import Dataset
from pages.widgets import managed_parts
from pages.widgets.errors import guard, plain
from pages.widgets.managed_local import same_here
from pages.widgets.once import once
from pages.widgets.problems import problem_table
from pages.widgets.tables import csv_button, problem_rows
from pages.widgets.words import many

CALLOUTS = {"info": st.info, "warning": st.warning, "error": st.error}
ICONS = {"info": ":material/info:", "warning": ":material/event_busy:", "error": ":material/block:"}
# From so many examples on, checking takes long enough to be watched.
WATCHED = 5_000


def before_start(service: Service, model: str, dataset: Dataset, settings: TuneSettings) -> None:
    """The whole panel."""
    prepared = _prepared(service, model, dataset, settings)
    st.subheader("Before you start")
    _figures(prepared)
    _problems(prepared)
    show_notices(prepared.notices)
    _eligible(service, model)
    _start(prepared, service)
    if service.name != THIS_MACHINE:
        same_here(dataset.id, dataset.name, settings, "managed_new")


def _prepared(service: Service, model: str, dataset: Dataset, settings: TuneSettings) -> Prepared:
    """Worked out once for each state of everything it depends on: our own jobs tell whether it was made before."""
    ours = tuple((job.id, job.status) for job in queue.jobs("managed"))
    day = managed_parts.today()
    key = ("managed", service, model, dataset.id, dataset.hash, settings.model_dump_json(), ours, day)
    return once(repr(key), lambda: _prepare(service, model, dataset, settings, day))


def _prepare(service: Service, model: str, dataset: Dataset, settings: TuneSettings, day: dt.date) -> Prepared:
    place = st.empty()
    large = sum(dataset.notes["counts"].values()) > WATCHED

    def tell(done: int, total: int) -> None:
        if large:
            text = f"Checking and counting: {done:,} of {total:,} examples"
            place.progress(min(1.0, done / max(1, total)), text=text)

    with st.spinner("Checking and counting your examples") if not large else st.empty():
        prepared = prepare(service.name, model, dataset.id, settings, today=day, on_progress=tell)
    place.empty()
    return prepared


def show_notices(notices: Sequence[Notice]) -> None:
    """What closes when, each with the page that says so."""
    for notice in notices:
        source = ""
        if notice.source:
            read = f", read {notice.read}" if notice.read else ""
            source = f"  \n:small[Source: [{plain(urlsplit(notice.source).hostname)}]({notice.source}){plain(read)}]"
        body = f"{plain(notice.remedy)}{source}".strip() or None
        if body is None:
            CALLOUTS[notice.level](plain(notice.what), icon=ICONS[notice.level])
        else:
            CALLOUTS[notice.level](body, title=plain(notice.what), icon=ICONS[notice.level])


def _eligible(service: Service, model: str) -> None:
    """Whether the provider would take the job, asked of it: the question costs nothing."""
    if service.name == THIS_MACHINE:
        return
    key = f"managed_eligible_{service.name}_{model}"
    if st.button(
        "Ask whether it takes the job",
        icon=":material/how_to_reg:",
        key="managed_eligibility",
        help="Two short questions to the provider that cost nothing: whether the key is valid and what speaks against "
        "a training.",
    ):
        with guard(), st.spinner(f"Asking {plain(service.name)}"):
            st.session_state[key] = eligibility(service.name, model, managed_parts.today())
    if key in st.session_state:
        show_notices([st.session_state[key]])


def _figures(prepared: Prepared) -> None:
    about = "" if prepared.epochs_fixed else "about "
    with st.grid(2, min_column_width=130):
        st.metric("Training examples", f"{prepared.training.examples:,}")
        st.metric("Epochs", f"{about}{prepared.epochs}", help="Chosen by the provider unless you name them.")
        st.metric(
            "Tokens trained on",
            f"{'' if prepared.exact else 'about '}{prepared.billed_tokens:,}",
            help=f"{prepared.tokens:,} in one pass, times the epochs.",
        )
        st.metric("Price", _sum(prepared) or "unknown", help="Of the training alone; asking the model costs extra.")
    each = "" if prepared.usd_per_million is None else f"${prepared.usd_per_million:g} per million training tokens, "
    st.caption(plain(f"{prepared.tokens_how}. Price: {each}{prepared.price_source}."))


def _sum(prepared: Prepared) -> str:
    """ "$1.23", "no bill"; empty where nobody knows."""
    if prepared.price_usd is None:
        return ""
    if not prepared.price_usd:
        return "no bill"
    # In whole cents, upwards: what is confirmed should be enough.
    return f"${prepared.price_usd + 0.004999:,.2f}"


def _problems(prepared: Prepared) -> None:
    """The check by the provider's rules, line by line."""
    if not prepared.problems:
        st.success("Every line is as the provider wants it.", icon=":material/check:")
        return
    title = f"{many(prepared.errors, 'problem')} by the provider's rules"
    with st.expander(title, icon=":material/error:", expanded=True, key="managed_problems_fold"):
        st.caption("Lines are those of the file that would be sent. Mend them on Data.")
        problem_table(prepared.problems, "managed_problems", title)
        if prepared.errors > len(prepared.problems):
            st.caption(f"The first {MAX_LISTED:,} are listed.")
        csv_button(problem_rows(prepared.problems), "problems.csv", "Download this list (CSV)", "managed_csv")
        st.page_link(
            "pages/data.py",
            label="Open the data set on Data",
            icon=":material/database:",
            query_params={"dataset": str(prepared.dataset_id)},
        )


def _start(prepared: Prepared, service: Service) -> None:
    """The start, behind a question that names what leaves this computer and the sum."""
    earlier = queue.get(prepared.earlier) if prepared.earlier is not None else None
    if earlier is not None:
        words = "has made just this model" if earlier.status == "done" else "is just this training"
        st.info(f"Job {earlier.id} {words}. It is not made twice.", icon=":material/content_copy:")
        if st.button("Show it", icon=":material/monitoring:", key="managed_show_earlier"):
            managed_parts.show_training(earlier.id)
            st.rerun()
        return
    label, amount = "Upload and start", _sum(prepared)
    if amount and prepared.price_usd:
        label = f"Upload and start for about {amount}"
    elif amount:
        label = "Upload and start, no bill"
    if not prepared.startable:
        st.button(label, disabled=True, icon=":material/upload:", key="managed_start", help=plain(prepared.why_not))
        return
    with st.popover(plain(label), icon=":material/upload:", type="primary", key="managed_confirm"):
        st.markdown(plain(_what_leaves(prepared, service)))
        agreed = True
        if not amount:
            agreed = st.checkbox(
                "I know that its price is not known here, and will pay what it asks", key="managed_agree"
            )
        if st.button(
            f"Yes, {plain(label[0].lower() + label[1:])}",
            type="primary",
            icon=":material/check:",
            disabled=not agreed,
            key="managed_start",
        ):
            with guard():
                managed_parts.show_training(start(prepared, prepared.price_usd))
                st.rerun()


def _what_leaves(prepared: Prepared, service: Service) -> str:
    parts = [_in_words(prepared.training)] + ([_in_words(prepared.validation)] if prepared.validation else [])
    cost = ""
    if prepared.price_usd:
        cost = (
            f" It charges about {_sum(prepared)}: {prepared.billed_tokens:,} tokens at ${prepared.usd_per_million:g} "
            "per million. A training that would cost notably more is cancelled."
        )
    return f"{' and '.join(parts)} go to {service.name} ({service.url}). The test examples stay here.{cost}"


def _in_words(file: Outgoing) -> str:
    size = f"{file.bytes / 1e6:,.1f} MB" if file.bytes >= 1e6 else f"{file.bytes / 1e3:,.0f} kB"
    return f"{file.examples:,} {'training' if file.split == 'train' else 'validation'} examples ({size})"
