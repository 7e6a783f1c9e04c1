"""The answer of the wizard: the rung to try first, why, what would turn it, what can go wrong, and the first steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest

import streamlit as st

from core.decide.answers import Answer, settled
from core.decide.costs import RUNGS, monthly
from core.decide.decision import Decision
from core.decide.engine import Reason, Step, texts_for
from core.decide.record import Measured, judge
from core.decide.rulebook import rulebook
from core.store.lists import experiments
from core.store.tables import Experiment
from pages.widgets.errors import plain
from pages.widgets.ladder import ALL_RUNGS, Mark, draw_ladder, ladder_figure
from pages.widgets.money import usd
from pages.widgets.words import many

CONFIDENCE_COLOUR = {"high": "green", "medium": "orange", "low": "red"}
# How many times dearer than another way to tune the advice must be before it is mentioned.
NOTABLY = 2
CONFIDENCE_HELP = (
    "Of all ways in which the open questions could still be answered, the share that leads to the same place on the "
    "ladder; lower when answers conflict, or when they were read from a sentence that could mean something else. It "
    "says how settled the advice is, not whether it is right: only measuring tells that."
)


def headline(decision: Decision, left: int) -> None:
    """The rung, what it is, and how settled the advice is; `left` questions are still to be asked."""
    advice, text = decision.advice, rulebook().texts.rungs[decision.advice.rung]
    cost = decision.costs[advice.rung]
    st.subheader(f"So far: {plain(advice.rung)}" if left else f"Try {plain(advice.rung)} first")
    st.markdown(f"**{plain(text.title)}.** {plain(text.meaning)}")
    if not cost.available:
        st.warning(plain(cost.note), title="As things stand, this rung cannot be had")
    st.badge(
        f"Confidence {advice.confidence_word}, {advice.confidence:.0%}",
        color=CONFIDENCE_COLOUR[advice.confidence_word],  # type: ignore[arg-type]
        help=CONFIDENCE_HELP,
    )
    if left:
        st.caption(f"{many(left, 'question')} could still turn it; each answer settles more.")


def draw_advice(decision: Decision, measured: Sequence[tuple[Experiment, Measured]]) -> None:
    """Everything below the headline, from the reasons to the plan."""
    advice = decision.advice
    _measured(decision, measured)
    _price(decision)
    picture, why = st.columns([1, 1], gap="large")
    with picture:
        _ladder(decision)
    with why:
        st.subheader("Why")
        for reason, step in zip_longest(advice.reasons, advice.path):
            _reason(reason, _tested(step) if step is not None else "")
        for conflict in advice.conflicts:
            st.warning(plain(conflict.text), title="These answers do not go together", icon=":material/call_split:")
        if advice.next:
            st.markdown(f"**Next to climb to**, if measuring says so: {plain(', then '.join(advice.next))}.")
    flips, risks, data = st.columns(3, gap="large")
    with flips:
        st.subheader("What would change it")
        _flips(decision)
    with risks:
        st.subheader("What can go wrong")
        for title, text in texts_for(advice.rung, "risks", decision.answers):
            st.markdown(f"**{plain(title)}.** {plain(text)}")
    with data:
        st.subheader("What to collect")
        _list(text for _, text in texts_for(advice.rung, "data", decision.answers))
    st.subheader("The first three steps")
    steps = st.columns(3, gap="medium")
    for number, (column, (_, text)) in enumerate(
        zip(steps, texts_for(advice.rung, "steps", decision.answers)[:3], strict=False), 1
    ):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{number}.** {plain(text)}")


def measured_for(answers: Mapping[str, Answer]) -> list[tuple[Experiment, Measured]]:
    """The experiments that were started from these answers, or from some of them, and have a verdict; newest first."""
    given = settled(answers)
    found = []
    for experiment in experiments():
        led_by = experiment.spec.get("answers") or {}
        if experiment.report and led_by and led_by.items() <= given.items():
            verdict = experiment.report["verdict"]
            found.append(
                (
                    experiment,
                    Measured(
                        name=experiment.name,
                        rung=verdict["rung"],
                        outcome=verdict["outcome"],
                        reason=verdict["reason"],
                        n=experiment.report["n"],
                        date=dt.date.fromtimestamp(experiment.created_at),
                        rungs=tuple(row["rung"] for row in experiment.report["rungs"]),
                    ),
                )
            )
    return found


def _measured(decision: Decision, measured: Sequence[tuple[Experiment, Measured]]) -> None:
    """Each verdict beside the advice it confirms or overturns."""
    for experiment, found in measured:
        with st.container(border=True):
            judgement = judge(decision.advice.rung, found)
            if judgement == "open":
                st.badge("Measured: cannot tell yet", icon=":material/help:", color="gray")
            elif judgement == "confirmed":
                words = f"Measured: {found.rung}, which confirms the advice"
                st.badge(plain(words), icon=":material/check:", color="green")
            else:
                words = f"Measured: {found.rung or 'none is good enough'}, which overturns the advice"
                st.badge(plain(words), icon=":material/swap_vert:", color="orange")
            st.markdown(f"{plain(found.reason)} ({many(found.n, 'test example')}, {found.date})")
            st.page_link(
                "pages/compare.py",
                label=plain(found.name, 80),
                icon=":material/balance:",
                query_params={"experiment": str(experiment.id)},
            )


def _price(decision: Decision) -> None:
    """How long it takes and what it costs; the assumptions stand beside the table of all rungs."""
    rung, assumed, found = decision.advice.rung, decision.assumptions, decision.costs
    cost = found[rung]
    own = bool(cost.memory_gb) and assumed.gpu_owned
    free = "Your own GPU: power and wear are not counted." if own else ""
    with st.grid(5, min_column_width=130):
        st.metric("Work to set up", f"{cost.setup_hours:,.0f} hours", help="People's time, with collecting examples.")
        st.metric("Bills to set up", usd(cost.setup_usd), help=f"For training and indexing, without salaries. {free}")
        st.metric("Bills a month", usd(monthly(assumed, rung, assumed.requests_per_day)), help=free or None)
        st.metric("One answer", f"{cost.latency_s:,.1f} s", help="To a request that is alone.")
        st.metric(
            "GPU memory",
            f"{cost.memory_gb:,.0f} GB" if cost.memory_gb else "none",
            help="That must be there for training and serving; none when somebody else serves.",
        )
    st.caption(
        f"Estimates at {assumed.requests_per_day:,.0f} requests a day, from editable assumptions and dated prices: "
        "see The money."
    )
    wanted = decision.answers.get("latency_s")
    if isinstance(wanted, float | int) and cost.latency_s > wanted:
        st.warning(
            f"An answer within {wanted:g} s was wanted, and {cost.latency_s:,.1f} s are estimated. Choose a smaller "
            "model or a faster GPU under The money.",
        )
    _cheaper(decision)


def _cheaper(decision: Decision) -> None:
    """A word where the bills speak for the other way to tune: a service instead of a GPU, or the reverse."""
    rung, assumed, found = decision.advice.rung, decision.assumptions, decision.costs
    retrieval, tuned = RUNGS[rung]
    if tuned is None:
        return
    others = [name for name, (r, t) in RUNGS.items() if r == retrieval and t and t != tuned and found[name].available]
    bills = {name: monthly(assumed, name, assumed.requests_per_day) for name in (*others, rung)}
    least = min(bills, key=lambda name: bills[name])
    if bills[rung] > NOTABLY * bills[least] and bills[rung] - bills[least] >= 1:
        st.info(
            f"By the bills alone, {plain(least)} would be cheaper at this volume: {plain(usd(bills[least]))} a month "
            f"instead of {plain(usd(bills[rung]))}. The rules also look at budget, data and access: see Why."
        )


def _ladder(decision: Decision) -> None:
    book = rulebook()
    advised, text = decision.advice.rung, book.texts.rungs[decision.advice.rung]
    after = {book.texts.rungs[rung].ladder for rung in decision.advice.next}
    marks = []
    for rung in ALL_RUNGS:
        note = ""
        if rung == text.ladder:
            note = "try this first" if advised == rung else f"as {advised}: try this first"
        elif rung in after:
            note = "next, if this falls short"
        elif rung in text.measure:
            note = "measure beside it"
        marks.append(Mark(rung, note=note, chosen=rung == text.ladder, faded=not note))
    draw_ladder(
        ladder_figure(marks, "Your ladder"),
        "advice_ladder",
        f"The ladder with {advised} marked as the rung to try first",
    )


def _tested(step: Step) -> str:
    test = rulebook().rules.tree[step.test]
    return f"**{plain(test.short)} {'Yes' if step.holds else 'No'}.** "


def _reason(reason: Reason, lead: str = "") -> None:
    assumed = " *(assumed: a question is open)*" if reason.assumed else ""
    trade_off = f"  \n:small[{plain(reason.trade_off)}]" if reason.trade_off else ""
    st.markdown(f"- {lead}{plain(reason.text)}{assumed}{trade_off}")


def _flips(decision: Decision) -> None:
    if not decision.advice.flips:
        st.markdown("No single changed answer leads elsewhere.")
    ordered = sorted(decision.advice.flips, key=lambda flip: rulebook().rungs.index(flip.rung))
    for rung, flips in groupby(ordered, key=lambda flip: flip.rung):
        st.markdown(f"To **{plain(rung)}**:")
        _list(flip.text for flip in flips)


def _list(texts: Iterable[str]) -> None:
    st.markdown("\n".join(f"- {plain(text)}" for text in texts))
