"""What of an experiment's answers to look at, and how: every choice is in the address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import streamlit as st

from core.evaluate.browsing import ORDERS, SHOWS, Looking, Order, Show
from core.evaluate.plan import metrics_of
from core.evaluate.reading import Scores
from core.store.tables import Experiment

SHOWN: dict[Show, str] = {
    "all": "All",
    "answers differ": "Answers differ",
    "scores differ": "Scores differ",
    "wrong": "Wrong",
    "worse": "Worse than another rung",
    "better": "Better than another rung",
    "failed": "No answer",
    "cut": "Cut short",
    "noted": "With a note",
}
ORDERED: dict[Order, str] = {
    "position": "As in the file",
    "largest difference": "Largest difference first",
    "lowest score": "Lowest score first",
    "slowest": "Slowest first",
}
ANY = "any rung"
EVERY = "Every one"
REFERENCE, NOTHING = "the reference", "nothing"
ANSWERS, LIST = "One by one", "List"
LISTED = 500
SEARCHED_CHARACTERS = 200


@dataclass(frozen=True)
class Chosen:
    """`beside`: what answers are compared with word by word: REFERENCE, NOTHING or a rung."""

    layout: str
    looking: Looking
    titles: dict[str, str]
    """By identity, what each metric of the experiment is called."""
    beside: str


def chosen_view(experiment: Experiment, scores: Scores) -> Chosen:
    titles = metric_titles(experiment)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layout = st.segmented_control(
            "View", [ANSWERS, LIST], default=ANSWERS, required=True, key="layout", bind="query-params"
        )
        show: Show = st.selectbox(
            "Show", SHOWS, format_func=SHOWN.__getitem__, key="show", bind="query-params", width=220
        )
        of, against = _rungs(scores.rungs, show)
        find = st.text_input(
            "Search",
            type="search",
            placeholder="In questions, references and answers",
            max_chars=SEARCHED_CHARACTERS,
            key="find",
            bind="query-params",
            width=260,
        )
        beside = REFERENCE
        if layout == ANSWERS:
            beside = st.selectbox(
                "Differences from",
                [REFERENCE, NOTHING, *scores.rungs],
                key="diff",
                bind="query-params",
                width=180,
                help="Word by word. Red: not in what it is compared with. Green, struck through: missing here.",
            )
        label, group, metric, order = _more(scores, titles)
    looking = Looking(metric, show, of, against, label, group, (find or "").strip(), order)
    return Chosen(str(layout), looking, titles, beside)


def metric_titles(experiment: Experiment) -> dict[str, str]:
    """By identity; one metric with two settings is told apart by the hash of them."""
    choices = metrics_of(experiment)
    counts = Counter(choice.title for choice in choices)
    return {
        choice.identity: choice.title if counts[choice.title] == 1 else f"{choice.title} ({choice.identity})"
        for choice in choices
    }


def _rungs(rungs: list[str], show: Show) -> tuple[str, str]:
    """The rungs that the choice is about; only asked for where there is such a choice."""
    if show in ("wrong", "failed", "cut"):
        of = st.selectbox("Rung", [ANY, *rungs], key="of", bind="query-params", width=180)
        return ("" if of == ANY else of), ""
    if show in ("worse", "better") and len(rungs) > 1:
        rung = st.selectbox("Rung", rungs, index=len(rungs) - 1, key="rung", bind="query-params", width=180)
        against = st.selectbox("Against", rungs, key="against", bind="query-params", width=180)
        return rung, against
    return "", ""


def _more(scores: Scores, titles: dict[str, str]) -> tuple[str | None, str | None, str, Order]:
    labels = _frequent([label for label in scores.labels if label])
    groups = _frequent(scores.groups)
    label = group = EVERY
    with st.popover("More", icon=":material/tune:", key="outputs_more"):
        if labels:
            label = _one_of("Label", labels, "label")
        # Where every example is a group of its own there is nothing to choose.
        if 1 < len(set(scores.groups)) < scores.n:
            group = _one_of("Group", groups, "source")
        metric = next(iter(titles))
        if len(titles) > 1:
            metric = st.selectbox(
                "Judged by", list(titles), format_func=titles.__getitem__, key="metric", bind="query-params"
            )
        order: Order = st.selectbox("Order", ORDERS, format_func=ORDERED.__getitem__, key="sort", bind="query-params")
    return (None if label == EVERY else label), (None if group == EVERY else group), metric, order


def _one_of(title: str, names: list[str], key: str) -> str:
    """One of the names, as the texts of the data that they are: a select box shows them letter by letter."""
    return str(st.selectbox(title, [EVERY, *names], key=key, bind="query-params"))


def _frequent(names: list[str]) -> list[str]:
    return [name for name, _ in Counter(names).most_common(LISTED)]
