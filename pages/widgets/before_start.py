"""Before a comparison starts: what it can show, what it takes, whether the test leaks, and why it cannot start."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st

from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.plan import MetricChoice, Plan
from core.experiment_file import yaml_of
from core.forecast import Detectable, detectable, training_seconds
from core.forecast.comparison import ComparisonForecast, forecast
from core.forecast.detectable import WANTED
from core.ladder import Climb, check
from core.models.open import is_remote
from core.store.tables import Dataset
from core.train.recipe import Recipe
from pages.widgets.compare_state import KEY
from pages.widgets.errors import guard, plain
from pages.widgets.money import usd
from pages.widgets.once import known, once
from pages.widgets.splits_view import COMPARED_AT_ONCE, compare_parts
from pages.widgets.tables import table
from pages.widgets.words import duration, many

# Seconds for which a forecast is good: runs that end meanwhile make the next one better.
FRESH_S = 60


def before_start(dataset: Dataset, wanted: Climb | UserError, start: Callable[[Climb], None]) -> None:
    """The whole panel; `wanted` is what the form says, or why it says nothing that could be started."""
    with st.container(border=True):
        st.subheader("Before you start")
        refused = wanted if isinstance(wanted, UserError) else _refusal(wanted)
        if refused is not None:
            st.warning(plain(refused.remedy) or "Change the choice on the left.", title=plain(refused.what))
        shown = None if isinstance(wanted, UserError) else _detectable(dataset, wanted)
        if shown is not None:
            st.markdown(plain(shown.words))
        # Filled last: what takes a moment to reckon does not keep anybody from starting.
        figures = st.container()
        with guard():
            _leaks(dataset)
        with st.container(horizontal=True):
            if st.button(
                "Start comparing",
                type="primary",
                icon=":material/play_arrow:",
                shortcut="Alt+Enter",  # with Ctrl it would end the writing in a text area
                disabled=refused is not None,
                key="start_comparing",
            ) and isinstance(wanted, Climb):
                with guard():
                    start(wanted)
            if isinstance(wanted, Climb) and refused is None:
                _as_file(wanted)
        details = st.container()
        if shown is not None:
            _more_examples(shown)
        if isinstance(wanted, Climb) and refused is None:
            with guard():
                found = _found(dataset, wanted)
                with figures:
                    _taken(dataset, wanted, found)
                with details:
                    _by_rung(found)


def _refusal(wanted: Climb) -> UserError | None:
    """Why it cannot start as it is."""
    try:
        check(wanted)
    except UserError as error:
        return error
    return None


def _detectable(dataset: Dataset, wanted: Climb) -> Detectable:
    metric = metric_named(wanted.metrics[0].name)
    # The mean of several answers is no longer right or wrong.
    kind = "continuous" if wanted.plan.samples > 1 else metric.kind
    return detectable(dataset.id, kind, len(wanted.plan.rungs))


def _more_examples(shown: Detectable) -> None:
    with st.expander("What more examples would buy", icon=":material/trending_up:"):
        sizes = [(shown.tests, shown.smallest), *shown.more]
        table(
            [
                {
                    "test examples": f"{n:,}" + (" (now)" if n == shown.tests else ""),
                    "difference found": "none" if math.isinf(effect) else f"{100 * effect:.1f} points",
                }
                for n, effect in sizes
            ],
            "Smallest true difference that is found 4 times out of 5, by the number of test examples",
        )
        st.caption(
            f"To find a difference of {100 * WANTED:.0f} points 4 times out of 5, about {shown.for_wanted:,} test "
            "examples are needed. Fewer rungs need fewer: each pair of rungs is one more chance to be fooled."
        )


def _found(dataset: Dataset, wanted: Climb) -> ComparisonForecast:
    with st.spinner("Counting the tokens of some prompts"):
        return _forecast(
            dataset.id,
            dataset.hash,
            wanted.plan.model_dump_json(exclude={"answers", "spending_cap_usd"}),
            wanted.model,
            wanted.index_id,
            [choice.model_dump() for choice in wanted.metrics],
        )


def _taken(dataset: Dataset, wanted: Climb, found: ComparisonForecast) -> None:
    """Time, tokens and money; and, where services are asked, the most that may be spent."""
    seconds, words = found.seconds, f"{found.answers:,} answers"
    if wanted.trains:
        words += " and one training"
        if seconds is not None:
            seconds += training_seconds(dataset.id, wanted.recipe or Recipe(model=wanted.model))
    if found.judges:
        words += f", and {sum(judge.answers for judge in found.judges):,} questions to a judge"
    with st.grid(2, min_column_width=130):
        st.metric("Rough time", duration(seconds))
        paid = found.usd > 0
        st.metric(
            "Bill of services",
            usd(found.usd) if paid else "none",
            help="At the prices saved with each service; what this computer uses is not in it.",
        )
    tokens = f"{_short(found.input_tokens)} tokens read and {_short(found.output_tokens)} written"
    st.caption(plain(f"{words}: about {tokens}. What an earlier comparison has answered already is not asked again."))
    if paid or any(is_remote(part.model) for part in found.all):
        st.number_input(
            "Spending cap, US$",
            0.01,
            None,
            None,
            0.5,
            key=f"{KEY}cap",
            persist_state="session",
            placeholder="None",
            help="Paid models are asked no further than this, retries and the judge included. What is answered by then "
            "is kept, and it can go on with a higher cap.",
        )
        cap = st.session_state[f"{KEY}cap"]
        if cap is not None and cap < found.usd:
            st.caption(f":material/warning: {plain(f'About {usd(found.usd)} are expected: the cap may end it early.')}")


@st.cache_data(ttl=FRESH_S, max_entries=60, show_spinner=False)
def _forecast(
    dataset_id: int, content: str, plan: str, model: str, index_id: int | None, metrics: list[dict[str, object]]
) -> ComparisonForecast:
    """`content` is the dataset's hash, which edits change."""
    chosen = [MetricChoice.model_validate(choice) for choice in metrics]
    return forecast(dataset_id, Plan.model_validate_json(plan), model, index_id, chosen)


def _by_rung(found: ComparisonForecast) -> None:
    with st.expander("Rung by rung", icon=":material/table_rows:"):
        table(
            [
                {
                    "rung": part.rung,
                    "time": duration(part.seconds),
                    "bill": usd(part.usd),
                    "tokens read": _short(part.input_tokens),
                    "written": _short(part.output_tokens),
                    "answers": part.answers,
                    "speed": "measured here" if part.measured else "reckoned",
                }
                for part in found.all
            ],
            "Answers, tokens, time and money of each rung",
        )
        exact = all(part.exact for part in found.rungs)
        counted = "counted with the model's tokenizer" if exact else "told from the size of the texts"
        st.caption(
            f"Prompts are {counted}, on a sample of the test. Answers are taken to be as long as this rung's earlier "
            "ones here, else as the references. Time follows from earlier answers where there are any, else from the "
            "device: within a factor of two or so."
        )


def _leaks(dataset: Dataset) -> None:
    """Whether test questions are also in the training examples: then tuning and worked examples prove nothing."""
    counts = dataset.notes["counts"]
    if not counts["train"] or not counts["test"]:
        return
    key = ("leaks", dataset.id, dataset.hash, "test")
    large = sum(counts.values()) > COMPARED_AT_ONCE
    if large and not known(key) and not st.button("Check the test for leaks", icon=":material/compare:"):
        return
    with st.spinner("Comparing test and training examples"):
        _, report = once(key, lambda: compare_parts(dataset.id, "test"))
    if not report.total:
        st.caption(":material/verified: No test prompt is also a training prompt, or nearly one.")
        return
    verb = "repeats" if report.total == 1 else "repeat"
    st.warning(
        "They may be answered from memory by rungs with an adapter or worked examples, so their scores say too much.",
        title=f"{many(report.total, 'test example')} of {report.test:,} nearly {verb} training examples",
    )
    st.page_link(
        "pages/data.py",
        label="See them on Data",
        icon=":material/database:",
        query_params={"dataset": str(dataset.id), "view": "Splits and leaks"},
    )


def _as_file(wanted: Climb) -> None:
    with st.popover("Copy as experiment file", icon=":material/terminal:"), guard():
        st.caption("`python -m core compare experiment.yaml --out FOLDER` runs it without a screen.")
        st.code(yaml_of(wanted), language="yaml", wrap_lines=True, height=320)


def _short(tokens: int) -> str:
    """ "950", "12 thousand", "3.4 million"."""
    if tokens < 1_000:
        return f"{tokens}"
    return f"{tokens / 1e3:,.0f} thousand" if tokens < 1e6 else f"{tokens / 1e6:,.1f} million"
