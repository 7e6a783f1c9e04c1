"""What a file was recognised as, in words; every part of it can be changed, with the first examples shown as learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import get_args

import streamlit as st

from core.data.example import Example
from core.data.files import CONTAINERS, DELIMITERS, ENCODINGS, FileKind
from core.data.files.model import TEXT_CONTAINERS, Container
from core.data.layouts import LAYOUTS
from core.data.layouts.layout import SHARED
from core.data.layouts.mapped import MAPPED_FIELDS, guess_mapping
from core.data.reading import Detected, Reading, detect, read
from pages.widgets.errors import plain
from pages.widgets.once import once
from pages.widgets.sources import Source, size_in_words
from pages.widgets.turns import show_turns

KINDS: tuple[Container, ...] = get_args(Container)
SHOWN = 3
# Of a file whose first records are all broken, so many are looked at for something to show.
LOOKED_AT = 200
# A conversation of these layouts may hold several answers.
WITH_TURNS = ("chat", "sharegpt")
FIELDS = {
    "prompt": ("Prompt", "What is asked."),
    "answer": ("Answer", "What the model is to say."),
    "system": ("Instruction", "What the model is told before each prompt."),
    "group": ("Group", "The source that rows share, such as a document or a customer: never split between sets."),
    "label": ("Label", "The class of a row; each split gets its share of every label."),
    "context": ("Context", "A passage that the answer rests on."),
}
ANSWERS = {"last": "Only the last answer", "each": "Every answer"}


def recognised(source: Source, what: str) -> Reading:
    """Show what the file is and let it be changed; `what` says which file this is.

    Raises UserError for a file that holds no records at all.
    """
    found = once(("detect", source.key), lambda: detect(source.file))
    with st.container(border=True):
        place = st.empty()
        reading = _choices(source, found)
        layout = LAYOUTS[reading.layout]
        used = [column for column in found.columns if column in (*layout.fields, *SHARED)]
        fields = _mapping_in_words(reading.mapping) if reading.layout == "mapped" else ", ".join(used)
        with place.container():
            st.markdown(
                f"**{plain(what)}: {plain(source.file.name, 80)}** · {size_in_words(source.file.size)}  \n"
                f"{plain(reading.kind.title)} · {plain(layout.title)}{': ' if fields else ''}{plain(fields, 200)}"
            )
            if reading == found.reading:
                st.caption(plain(found.why, 300))
        if complete(reading):
            _preview(source, reading)
    return reading


def complete(reading: Reading) -> bool:
    """Whether it says which columns are prompt and answer, where that has to be said."""
    return reading.layout != "mapped" or bool(reading.mapping.get("prompt") and reading.mapping.get("answer"))


def _mapping_in_words(mapping: Mapping[str, str]) -> str:
    return ", ".join(f"{FIELDS[field][0].lower()} from {column}" for field, column in mapping.items() if column)


def _choices(source: Source, found: Detected) -> Reading:
    """The reading as it is chosen: at first what was detected."""
    key, reading = source.key, found.reading
    open_at_first = reading.layout == "mapped"
    with st.expander("Read it differently", icon=":material/tune:", expanded=open_at_first, key=f"differently_{key}"):
        kind = _kind(key, reading.kind)
        sample = found if kind == reading.kind else once(("detect", key, kind), lambda: detect(source.file, kind))
        layout = st.selectbox(
            "Layout",
            list(LAYOUTS),
            list(LAYOUTS).index(sample.reading.layout),
            format_func=lambda name: _layout_title(name),
            # Another kind of file brings other columns, so its layout is proposed anew.
            key=f"layout_{key}_{kind.title}",
            help="How a record says what is asked and what is to be answered.",
        )
        answers = "last"
        if layout in WITH_TURNS:
            answers = st.segmented_control(
                "What is learnt of a conversation",
                list(ANSWERS),
                default="last",
                required=True,
                format_func=ANSWERS.__getitem__,
                key=f"answers_{key}",
                help="With every answer, a conversation becomes several examples, all of one group.",
            )
        mapping: dict[str, str] = {}
        if layout == "mapped":
            mapping = _mapper(f"{key}_{kind.title}", sample.columns, sample.reading.mapping)
    return Reading(kind, layout, mapping, answers="each" if answers == "each" else "last")


def _layout_title(name: str) -> str:
    layout = LAYOUTS[name]
    title = layout.title[:1].upper() + layout.title[1:]
    return title if name == "mapped" else f"{title}: {', '.join(layout.fields)}"


def _kind(key: str, kind: FileKind) -> FileKind:
    with st.grid(3, min_column_width=170):
        container = st.selectbox(
            "Kind of file",
            KINDS,
            KINDS.index(kind.container),
            format_func=CONTAINERS.__getitem__,
            key=f"container_{key}",
        )
        kind = replace(kind, container=container)
        if container in TEXT_CONTAINERS:
            encoding = st.selectbox(
                "Encoding",
                list(ENCODINGS),
                list(ENCODINGS).index(kind.encoding) if kind.encoding in ENCODINGS else 0,
                format_func=ENCODINGS.__getitem__,
                key=f"encoding_{key}",
                help="How letters are written as bytes. Wrong if é, ü or ß look broken below.",
            )
            kind = replace(kind, encoding=encoding)
        if container == "csv":
            delimiter = st.selectbox(
                "Between the columns",
                list(DELIMITERS),
                list(DELIMITERS).index(kind.delimiter) if kind.delimiter in DELIMITERS else 0,
                format_func=DELIMITERS.__getitem__,
                key=f"delimiter_{key}",
            )
            kind = replace(kind, delimiter=delimiter)
        if container == "excel":
            sheet = st.text_input(
                "Sheet", kind.sheet, placeholder="The first one", key=f"sheet_{key}", help="The name on its tab."
            )
            kind = replace(kind, sheet=sheet.strip())
    return kind


def _mapper(key: str, columns: Sequence[str], guessed: Mapping[str, str]) -> dict[str, str]:
    """Which column is what; what the names suggest is chosen already."""
    if not columns:
        st.caption("No columns were found in the first records.")
        return {}
    guess = guessed or guess_mapping(columns)
    st.markdown("**Which column is what?** A prompt and an answer are needed; the rest is optional.")
    mapping: dict[str, str] = {}
    with st.grid(3, min_column_width=170):
        for field in MAPPED_FIELDS:
            title, meaning = FIELDS[field]
            column = st.selectbox(
                title,
                list(columns),
                columns.index(guess[field]) if guess.get(field) in columns else None,
                key=f"map_{field}_{key}",
                help=meaning,
                placeholder="Choose a column" if field in ("prompt", "answer") else "None",
            )
            if column is not None:
                mapping[field] = column
    return mapping


def _preview(source: Source, reading: Reading) -> None:
    """The first examples as they will be learnt."""
    fold = st.expander(
        "The first examples as they will be learnt",
        icon=":material/visibility:",
        expanded=reading.layout == "mapped",
        key=f"preview_{source.key}",
        on_change="rerun",
    )
    if not fold.open:
        return
    with fold:
        examples = once(("first", source.key, repr(reading)), lambda: _first(source, reading))
        if not examples:
            st.caption("None of the first records gives an example yet.")
        for number, example in enumerate(examples, start=1):
            if number > 1:
                st.divider()
            beside = [f"label {example.label}"] if example.label else []
            st.caption(plain(" · ".join([f"Example {number}", *beside]), 200))
            show_turns(example.messages, example.reference)


def _first(source: Source, reading: Reading) -> list[Example]:
    looked_at = islice(read(source.file, reading), LOOKED_AT)
    return list(islice((example for found in looked_at for example in found.examples), SHOWN))
