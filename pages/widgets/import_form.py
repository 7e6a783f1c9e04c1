"""Bringing examples in: what the file is, what is wrong with it, how it is to be split, and then the import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import streamlit as st

from core.data.check import Report
from core.data.dataset import ImportRefused, import_dataset
from core.data.importing_job import submit_import
from core.data.reading import Reading
from core.data.splits import MIN_TO_VALIDATE, TEST_SHARE, VALIDATION_SHARE, SplitPlan
from pages.widgets.errors import guard, plain
from pages.widgets.problems import checked, fixed, problem_table, show_problems, show_report
from pages.widgets.recognised import complete, recognised
from pages.widgets.sources import Source, choose_sources
from pages.widgets.tables import csv_button, problem_rows
from pages.widgets.words import many

# Imported while one waits, in a few seconds; a larger file becomes a job that can be watched and stopped.
IMPORTED_AT_ONCE = 20_000_000
SAMPLE = (
    '{"messages": [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "SHIPPING"}]}'
)
Chosen = tuple[Source, Reading, Report | None]


@st.fragment
def import_form() -> None:
    """The whole way from a file to a data set. A fragment: what is below on the page is not drawn again meanwhile."""
    with guard():
        train, test = choose_sources()
        if train is None:
            _explain()
            if test is not None:
                st.warning("Choose a file with examples to learn from as well.")
            return
        chosen: list[Chosen] = []
        for source, what in ((train, "Examples"), (test, "Test examples")):
            if source is not None:
                with guard():
                    chosen += _look_at(source, what)
        if len(chosen) == 1 + (test is not None):
            _openai(chosen)
            _settings_and_import(chosen)


def _explain() -> None:
    with st.expander("What a file may look like", icon=":material/help:"):
        st.markdown(
            "The usual ways are recognised: OpenAI chat, prompt and completion, Alpaca, ShareGPT, question and answer, "
            "and plain columns, of which you say which is the prompt and which the answer. OpenAI chat has one JSON "
            "object on each line, and the last turn is the answer you expect:"
        )
        st.code(SAMPLE, language="json", wrap_lines=True)
        st.markdown(
            "Add `group` where examples come from the same source, such as a document or a customer, so that it never "
            "straddles training and test; and `label` where each has a class."
        )


def _look_at(source: Source, what: str) -> list[Chosen]:
    """The file with its reading and report; nothing until it is known which columns to read."""
    reading = fixed(source, recognised(source, what))
    if not complete(reading):
        st.info("Then it is checked, and can be imported.", title="Choose the columns of prompt and answer first")
        return []
    report = checked(source, reading)
    if report is not None:
        show_report(source, reading, report, f"report_{source.key}")
    return [(source, reading, report)]


def _openai(chosen: Sequence[Chosen]) -> None:
    """What OpenAI's service would say to the same files; it decides nothing here."""
    if not st.toggle(
        "Also check the rules of OpenAI's fine-tuning service",
        key="openai_rules",
        help="It takes chat JSON lines only, at least ten examples, and refuses keys it does not know. The import into "
        "Lowest Rung does not depend on this.",
    ):
        return
    for source, reading, _ in chosen:
        report = checked(source, reading, "openai")
        if report is None:
            continue
        name = plain(source.file.name, 60)
        if report.errors:
            st.warning(
                f"{many(report.errors, 'error')} by its rules, listed below. It can still be imported here.",
                title=f"OpenAI would refuse {name}",
            )
        else:
            st.success(f"{many(report.examples, 'example')} by its rules.", title=f"OpenAI would take {name}")
        if report.problems:
            show_problems(report, f"openai_{source.key}")


def _settings_and_import(chosen: Sequence[Chosen]) -> None:
    train = chosen[0][0].file
    st.markdown("#### Import")
    left, right = st.columns([3, 1])
    stem = PurePosixPath(train.name.removesuffix(".gz")).stem
    name = left.text_input("Name of the data set", placeholder=stem, max_chars=120, key="dataset_name")
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, 0, key="dataset_seed", help="The same file and seed are split the same way."
    )
    plan = _plan(given_test=len(chosen) == 2)
    errors = sum(report.errors for _, _, report in chosen if report)
    empty = any(report is not None and not report.examples for _, _, report in chosen)
    if not empty:
        st.markdown(plain(what_happens(chosen, plan)))
    if errors:
        st.caption(f":material/block: {many(errors, 'error')} to mend first: fix them above, or correct the file.")
    large = sum(source.file.size for source, _, _ in chosen) > IMPORTED_AT_ONCE
    if st.button(
        "Import",
        type="primary",
        icon=":material/download_done:",
        key="import_now",
        disabled=bool(errors) or empty,
        help="In the background, with progress; a file this large takes minutes." if large else None,
    ):
        _import(name.strip() or stem, chosen, int(seed), plan, large)
    refused = st.session_state.get("import_refused")
    if refused is not None and refused[0] == _identity(chosen):
        show_refusal(refused[1], "refused")


def _plan(given_test: bool) -> SplitPlan:
    with st.grid(4, min_column_width=165, vertical_alignment="bottom"):
        test = st.number_input(
            "Held back for testing, %",
            0 if given_test else 1,
            90,
            round(100 * TEST_SHARE),
            key="share_test",
            disabled=given_test,
            help="Whole groups, so as near to this as they allow. With a test file of your own nothing is held back.",
        )
        validation = st.number_input(
            "Of the rest for validation, %",
            0,
            90,
            round(100 * VALIDATION_SHARE),
            key="share_validation",
            help="Watched during training to see when it goes too far; never learnt from.",
        )
        stratify = st.checkbox(
            "Same labels in each part",
            True,
            key="stratify",
            help="Each part gets its share of every label. Matters only where examples have labels.",
        )
        together = st.checkbox(
            "Keep near duplicates together",
            True,
            key="near_together",
            help="Prompts that say nearly the same go to the same part; else the test would ask what was learnt.",
        )
    return SplitPlan(TEST_SHARE if given_test else test / 100, validation / 100, stratify, together)


def what_happens(chosen: Sequence[Chosen], plan: SplitPlan) -> str:
    """One sentence on what an import will do, with numbers where the files have been counted."""
    reports = [report for _, _, report in chosen]
    if any(report is None for report in reports):
        return "The whole file is checked first; if anything is wrong, nothing is stored and you see what."
    counts = [report.examples for report in reports if report]
    test = counts[1] if len(counts) == 2 else round(plan.test_share * counts[0])
    rest = counts[0] if len(counts) == 2 else counts[0] - test
    validation = round(plan.validation_share * rest) if rest >= MIN_TO_VALIDATE else 0
    about = "" if len(counts) == 2 else "about "
    return (
        f"Of {many(sum(counts), 'example')}, {about}{test:,} test what was learnt and are never trained on, about "
        f"{validation:,} watch over the training, and about {rest - validation:,} are learnt from."
    )


def _import(name: str, chosen: Sequence[Chosen], seed: int, plan: SplitPlan, large: bool) -> None:
    (train, train_reading, _), test = chosen[0], chosen[1] if len(chosen) == 2 else None
    files = (train.file, train_reading, test[0].file if test else None, test[1] if test else None)
    st.session_state.pop("import_refused", None)
    if large:
        with st.spinner("Putting the file aside for the import"):
            job_id = submit_import(name, *files, seed=seed, plan=plan)
        st.session_state["import_watched"] = job_id
        _start_anew(("job", job_id))
    place = st.empty()

    def tell(done: float, total: float, message: str) -> None:
        place.progress(min(1.0, done / total) if total else 0.0, text=plain(message, 120))

    try:
        dataset = import_dataset(name, *files, seed=seed, plan=plan, on_progress=tell)
    except ImportRefused as refused:
        place.empty()
        st.session_state["import_refused"] = (_identity(chosen), refused)
        return
    st.query_params["dataset"] = str(dataset.id)
    # The control below is bound to the address, which only its own state may change.
    st.session_state["view"] = "Overview"
    _start_anew(("dataset", dataset.id))


def _start_anew(outcome: tuple[str, int]) -> None:
    """Empty the form, say what came of it, and draw the whole page."""
    st.session_state["imports"] = st.session_state.get("imports", 0) + 1
    st.session_state["import_outcome"] = outcome
    for key in ("dataset_name", "openai_rules"):
        st.session_state.pop(key, None)
    st.rerun()


def _identity(chosen: Sequence[Chosen]) -> str:
    return repr([(source.key, reading) for source, reading, _ in chosen])


def show_refusal(refused: ImportRefused, key: str) -> None:
    """Why nothing was imported, line by line."""
    errors = [problem for problem in refused.problems if problem.severity == "error"]
    st.error(
        f"{many(refused.errors, 'problem')} to mend. Nothing was stored.",
        title="Nothing was imported",
        icon=":material/error:",
    )
    if errors:
        problem_table(errors, key, "Every record that is wrong, why, and what to do")
        csv_button(problem_rows(errors), "problems.csv", "Download this list (CSV)", f"{key}_csv")
