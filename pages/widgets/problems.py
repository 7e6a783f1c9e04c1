"""What is wrong with a file, as a compiler says it: figures, a table of problems, and one button for each repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.data.check import MAX_LISTED, Report, check
from core.data.example import Problem
from core.data.fixes import DROP_BROKEN, FIXES, Change, preview
from core.data.reading import Reading
from pages.widgets.diff import change_diff
from pages.widgets.errors import plain
from pages.widgets.once import known, once
from pages.widgets.sources import Source, size_in_words
from pages.widgets.tables import csv_button, problem_rows, table
from pages.widgets.words import many

# Checked as soon as it is there: about two seconds. A larger file is checked when asked.
CHECKED_AT_ONCE = 20_000_000
PREVIEWED = 10
# Pixels; from this height on a table breaks its lines.
ROW = 64
# Changes looked through for those of one fix among those of others.
LOOKED_AT = 60


def fixed(source: Source, reading: Reading) -> Reading:
    """The reading with the fixes that were chosen for this file."""
    return replace(reading, fixes=tuple(st.session_state.get(_fixes_key(source), ())))


def checked(source: Source, reading: Reading, profile: str = "") -> Report | None:
    """The report on a file, made now if it is quickly made, or when asked; None until then."""
    key = ("report", source.key, repr(reading), profile)
    if not known(key) and source.file.size > CHECKED_AT_ONCE:
        asked = st.button(
            f"Check all of {plain(source.file.name, 60)} now",
            icon=":material/fact_check:",
            key=f"check_{profile}_{source.key}",
            help=f"Reads {size_in_words(source.file.size)}, about a second for each 10 MB. The import checks too.",
        )
        if not asked:
            return None
    return once(key, lambda: _check(source, reading, profile))


def _check(source: Source, reading: Reading, profile: str) -> Report:
    place = st.empty()
    large = source.file.size > CHECKED_AT_ONCE

    def tell(done: int, total: int) -> None:
        # Drawing is also what lets a click elsewhere end this.
        if large:
            share = min(1.0, done / max(1, total))
            text = f"Checking {plain(source.file.name, 60)}: {size_in_words(done)} of {size_in_words(total)}"
            with place.container(horizontal=True, vertical_alignment="center"):
                st.progress(share, text=text, width="stretch")

    if large:
        tell(0, source.file.size)
    with st.spinner("Checking every record") if not large else st.empty():
        report = check(source.file, reading, profile="openai" if profile else "", on_progress=tell)
    place.empty()
    return report


def show_report(source: Source, reading: Reading, report: Report, key: str) -> None:
    """Figures, problems and repairs of one file. `reading` holds the fixes applied so far."""
    with st.grid(3, min_column_width=110):
        st.metric("Examples", f"{report.examples:,}", border=True, help="What can be imported of this file.")
        st.metric("Errors", f"{report.errors:,}", border=True, help="Must be mended before the file is imported.")
        st.metric("Warnings", f"{report.warnings:,}", border=True, help="Worth a look; they block nothing.")
    _repairs(source, reading, report)
    show_problems(report, key)


def show_problems(report: Report, key: str) -> None:
    """The problems as tables, errors apart from warnings, by kind, with a download of all that are listed."""
    if not report.problems:
        st.success("Every record can be used as it is.", title="Nothing is wrong", icon=":material/check:")
        return
    errors = [problem for problem in report.problems if problem.severity == "error"]
    warnings = [problem for problem in report.problems if problem.severity == "warning"]
    for title, noun, found, count, icon in (
        ("Errors", "error", errors, report.errors, ":material/error:"),
        ("Warnings", "warning", warnings, report.warnings, ":material/warning:"),
    ):
        if not found:
            continue
        with st.expander(
            f"{title}: {count:,}", icon=icon, expanded=noun == "error" or not errors, key=f"{key}_{noun}_fold"
        ):
            problem_table(found, f"{key}_{noun}", f"{title} of {report.file}", report.by_code)
            if count > len(found):
                st.caption(
                    f"{len(found):,} of {count:,} are listed, the first of each kind: at most {MAX_LISTED:,} in all. "
                    "Mend these and check again."
                )
    if report.problems:
        csv_button(problem_rows(report.problems), "problems.csv", "Download this list (CSV)", f"{key}_csv")


def problem_table(problems: Sequence[Problem], key: str, alt: str, counts: dict[str, int] | None = None) -> None:
    """One row per problem; where there are several kinds, they can be chosen."""
    listed = Counter(problem.code for problem in problems)
    kinds, numbers = list(listed), listed | (counts or {})
    chosen: list[str] = []
    if len(kinds) > 1:
        chosen = st.pills(
            "Kind",
            kinds,
            selection_mode="multi",
            format_func=lambda kind: f"{plain(kind.replace('_', ' '))} ({numbers[kind]:,})",
            key=f"{key}_kinds",
            help="Choose one or more kinds to see only these.",
        )
    rows = problem_rows([problem for problem in problems if not chosen or problem.code in chosen])
    table(
        rows,
        alt,
        row_height=ROW,
        height=min(480, 40 + ROW * len(rows)),
        column_config={
            "column": st.column_config.NumberColumn(width=65, format="%d", help="The character within the line."),
            "field": st.column_config.TextColumn(width=140),
            "what is wrong": st.column_config.TextColumn(width=285),
            "what to do": st.column_config.TextColumn(width=285),
            "kind": st.column_config.TextColumn(width=90),
            **{unit: st.column_config.NumberColumn(width=65, format="%d") for unit in ("line", "row", "item")},
            **({} if len({problem.file for problem in problems}) > 1 else {"file": None}),
        },
    )


def _fixes_key(source: Source) -> str:
    return f"fixes_{source.key}"


def _apply(source: Source, fixes: Sequence[str]) -> None:
    """Fixes are kept in the order of the list, which is the order in which they work."""
    st.session_state[_fixes_key(source)] = [key for key in FIXES if key in fixes]


def _repairs(source: Source, reading: Reading, report: Report) -> None:
    """What can be mended by a button, and what has been."""
    offered = {key: count for key, count in report.fixes.items() if key in FIXES and key not in reading.fixes}
    if not offered and not reading.fixes:
        return
    with st.container(border=True):
        for key in reading.fixes:
            left = [other for other in reading.fixes if other != key]
            label = f":green[:material/check: **{FIXES[key].title}**]"
            _repair(source, reading, key, label, ("Take back", ":material/undo:", f"unfix_{key}"), left)
        for key, count in offered.items():
            label = f"**{FIXES[key].title}** · {many(count, 'place')}"
            _repair(source, reading, key, label, ("Fix", ":material/build:", f"fix_{key}"), [*reading.fixes, key])
        mended = {key: count for key, count in offered.items() if key != DROP_BROKEN}
        if len(mended) > 1:
            st.button(
                f"Fix all: {many(sum(mended.values()), 'place')}",
                type="primary",
                icon=":material/build:",
                key=f"fix_all_{source.key}",
                on_click=_apply,
                args=(source, [*reading.fixes, *mended]),
            )
        st.caption("Your file stays as it is: fixes are made while it is read. Unfold one to see what it changes.")


def _repair(
    source: Source, reading: Reading, key: str, label: str, button: tuple[str, str, str], then: Sequence[str]
) -> None:
    """One fix: its changes, worked out when it is unfolded, and the button after which `then` are the fixes."""
    title, icon, name = button
    with st.container(horizontal=True, vertical_alignment="top"):
        fold = st.expander(label, type="compact", key=f"changes_{key}_{source.key}", on_change="rerun", width="stretch")
        st.button(title, icon=icon, key=f"{name}_{source.key}", on_click=_apply, args=(source, then))
    if fold.open:
        with fold:
            st.caption(FIXES[key].what)
            _changes(source, reading, key)


def _changes(source: Source, reading: Reading, key: str) -> None:
    """Before and after, of the first places."""
    without = replace(reading, fixes=tuple(other for other in reading.fixes if other != key))
    with st.spinner("Looking for the first changes"):
        found = once(("changes", source.key, repr(without), key), lambda: _of_fix(source, without, key))
    if not found:
        st.caption("Nothing changes: another fix has mended it.")
    for change in found[:PREVIEWED]:
        place = f"{reading.kind.unit.capitalize()} {change.line:,}"
        st.caption(plain(f"{place} · {change.field}" if change.field else place, 200))
        st.markdown(change_diff(change.before, change.after) if change.after else f"Goes: {plain(change.before, 300)}")
    if len(found) > PREVIEWED:
        st.caption(f"The first {PREVIEWED} changes are shown.")


def _of_fix(source: Source, without: Reading, key: str) -> list[Change]:
    """The first changes that this fix makes, without those that the other fixes make."""
    others = set(preview(source.file, without, without.fixes, limit=LOOKED_AT)) if without.fixes else set()
    changes = preview(source.file, without, [*without.fixes, key], limit=LOOKED_AT)
    return [change for change in changes if change not in others]
