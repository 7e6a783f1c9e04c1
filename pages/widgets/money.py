"""The money: what every rung costs at this volume, where one begins to pay off, and where the prices come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import streamlit as st

from core.decide.answers import Answer
from core.decide.assumptions import Assumptions
from core.decide.costs import Cost, costs, monthly
from core.decide.engine import advise
from core.decide.prices import GpuPrice, prices, stale
from core.decide.rulebook import rulebook
from pages.widgets.assumptions import Price, draw_assumptions, edited_assumptions, price_in_words
from pages.widgets.break_even import LEAST_USD, draw_break_even, matters, pays_off, sentence_start
from pages.widgets.errors import plain
from pages.widgets.tables import csv_button, shown

__all__ = ["draw_money", "edited_assumptions"]

# Paler than text and yet legible on a light and on a dark page (4:1).
FADED = "#767B84"


def draw_money(answers: Mapping[str, Answer], rung: str, today: dt.date) -> None:
    """Everything about money for these answers and the rung advised; its parts can be read alone."""
    assumed = edited_assumptions(answers)
    found = costs(assumed, today)
    with st.container(border=True):
        following = [other for other in _next(dict(answers), today) if other != rung]
        for sentence in headline(assumed, found, rung, following):
            st.markdown(sentence)
    # A container each, however much is in it: what moves on the page is made anew, and an open fold would close.
    with st.container():
        draw_assumptions(answers)
    with st.container():
        _table(assumed, found, rung)
    with st.container():
        draw_break_even(assumed, found, rung)
    _sources(assumed, today)


def headline(a: Assumptions, found: Mapping[str, Cost], rung: str, following: list[str]) -> list[str]:
    """What the rung costs, what the next one would, and the break-even that matters; Markdown sentences."""
    said = [_cost_sentence(a, found, rung)]
    if not found[rung].available:
        said.append(f":material/block: {plain(f'As assumed it cannot be had. {found[rung].note}')}")
    following = [other for other in following if found[other].available]
    if following:
        said.append("If it falls short, next comes " + _cost_sentence(a, found, following[0], lower=True))
    return [*said, plain(pays_off(a, *matters(a, found, rung)))]


def usd(value: float) -> str:
    """ "$4.62", "$12,300", "under a cent", "no bill"."""
    if value <= 0:
        return "no bill"
    if value < LEAST_USD / 2:
        return "under a cent"
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def money_rows(a: Assumptions, found: Mapping[str, Cost], rung: str) -> list[dict[str, Any]]:
    """One row per rung in the ladder's order, those that cannot be had last; money in US dollars."""
    listed = sorted(found, key=lambda name: not found[name].available)
    return [
        {
            "rung": name,
            "US$ a month": monthly(a, name, a.requests_per_day),
            "set-up bills, US$": found[name].setup_usd,
            "set-up work, hours": found[name].setup_hours,
            "US$ per 1,000 requests": found[name].usd_per_1000,
            "answer, s": found[name].latency_s,
            "GPU memory, GB": found[name].memory_gb,
            "advised": name == rung,
            "available": found[name].available,
            "what it is": rulebook().texts.rungs[name].title,
            "note": found[name].note,
        }
        for name in listed
    ]


@st.cache_data(max_entries=64, show_spinner=False)
def _next(answers: dict[str, Answer], today: dt.date) -> tuple[str, ...]:
    """What comes after the advised rung. Advice takes some 20 ms, and the page has asked for it once already."""
    return advise(answers, today=today).next


def _cost_sentence(a: Assumptions, found: Mapping[str, Cost], rung: str, lower: bool = False) -> str:
    title = rulebook().texts.rungs[rung].title
    title = title[0].lower() + title[1:] if lower else title
    cost = found[rung]
    volume = f"{a.requests_per_day:,.10g} requests a day"
    month = f"{usd(monthly(a, rung, a.requests_per_day))} a month"
    setup = f"{cost.setup_hours:,.0f} hours of work and {usd(cost.setup_usd)} in bills to set up, then"
    return f"**{plain(title)}**: {plain(setup)} **{plain(month)}** in bills at {plain(volume)}."


def _table(a: Assumptions, found: Mapping[str, Cost], rung: str) -> None:
    rows = money_rows(a, found, rung)
    marks = {True: "★ ", False: ""}
    frame = pd.DataFrame(
        [
            {name: shown(value) for name, value in row.items() if name not in ("advised", "available", "note")}
            | {"rung": marks[row["advised"]] + ("" if row["available"] else "✕ ") + row["rung"]}
            | {"GPU memory, GB": row["GPU memory, GB"] or None}
            for row in rows
        ]
    )
    out = [not row["available"] for row in rows]
    grey = f"color: {FADED}"
    st.markdown(f"**Every rung at {a.requests_per_day:,.10g} requests a day**: ★ advised, ✕ cannot be had as assumed")
    st.dataframe(
        frame.style.apply(lambda column: [grey if gone else "" for gone in out]),
        hide_index=True,
        height="content",
        placeholder="none",
        alt=f"Costs of {len(rows)} rungs; {rung} is advised",
        column_config={
            "rung": st.column_config.TextColumn("Rung", pinned=True),
            "US$ a month": st.column_config.NumberColumn("A month", format="dollar", help="Bills at this volume."),
            "set-up bills, US$": st.column_config.NumberColumn(
                "Set-up bills", format="dollar", help="Embedding the documents and the bare training runs."
            ),
            "set-up work, hours": st.column_config.NumberColumn(
                "Set-up work, h", format="localized", help="People's hours until the rung can be measured."
            ),
            "US$ per 1,000 requests": st.column_config.NumberColumn("1,000 requests", format="$%.3f"),
            "answer, s": st.column_config.NumberColumn(
                "Answer, s", format="%.1f", help="Seconds until the whole answer is there, for a request that is alone."
            ),
            "GPU memory, GB": st.column_config.NumberColumn(
                "GPU, GB", format="%.1f", help="GPU memory that training and serving take; none where others serve."
            ),
            "what it is": "What it is",
        },
    )
    for note in dict.fromkeys(row["note"] for row in rows if row["note"]):
        named = [row["rung"] for row in rows if row["note"] == note]
        icon = "event_busy" if found[named[0]].available else "block"
        st.caption(f":material/{icon}: **{plain(', '.join(named))}**: {plain(note)}")
    st.caption(
        "Bills are bare: a training run is billed for the hours it computes, not for a rented GPU that waits, and no "
        "salaries are in them. Set-up work is people's time: writing the prompt, cleaning documents, writing examples, "
        "getting the first run right. Keeping a rung in order afterwards is in neither."
        + (" What your own GPU can bear costs nothing here; only further ones are rented." if a.gpu_owned else "")
    )
    csv_button(rows, "costs.csv", "Costs as CSV", "costs_csv")


def _sources(a: Assumptions, today: dt.date) -> None:
    """Every price that the figures use, where it was read and when."""
    table = prices()
    used: dict[str, Price] = {}
    if a.data_may_leave:
        used["Hosted model"] = table.model(a.api_model)
        used["Fine-tuning service"] = table.tuned_model(a.managed_model)
        used["Embedding model"] = table.embedder(a.embedding_model)
    if a.train_gpu == a.serve_gpu:
        used["GPU to train and to serve on"] = table.gpu(a.train_gpu)
    else:
        used |= {"GPU to train on": table.gpu(a.train_gpu), "GPU to serve on": table.gpu(a.serve_gpu)}
    old = {role: reason for role, entry in used.items() if (reason := stale(entry, today))}
    count = f" :orange-badge[{len(old)} stale]" if old else ""
    with st.expander(f"Where the prices come from: table of {table.as_of}{count}", icon=":material/receipt_long:"):
        if reason := stale(table, today):
            st.warning(plain(reason))
        for role, entry in used.items():
            name, source = (
                (entry.title, entry.price_source) if isinstance(entry, GpuPrice) else (entry.id, entry.source)
            )
            badge = " :orange-badge[stale]" if role in old else ""
            price = plain(sentence_start(price_in_words(entry)))
            where = f"read on {entry.read} at [{urlsplit(source).hostname}](<{source}>)"
            st.markdown(f"{role}: **{plain(name)}**{badge}  \n{price}; {where}")
            st.caption(plain(f"{old.get(role, '')} {entry.note}".strip()))
