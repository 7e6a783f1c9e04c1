"""The recipe as a form: what an expert would start from, the reason beside it, and every knob explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

from core.data.profile.lengths import lengths as measured_lengths
from core.errors import UserError
from core.forecast.lengths import Counted
from core.store.lists import indexes
from core.train.recipe import Engine, Passages, Recipe, Schedule
from core.train.trackers import check as check_tracker
from core.train.unsloth import available as unsloth_missing
from pages.widgets.errors import plain
from pages.widgets.profile_charts import histogram
from pages.widgets.recipe_state import EPOCHS, KEY, NUMBERS, STEPS, TITLES, TRACKERS, touch

METHODS = {"lora": "LoRA", "qlora": "QLoRA", "rslora": "rsLoRA", "dora": "DoRA", "full": "Full"}
SCHEDULES = {"cosine": "Cosine", "linear": "Straight line", "constant_with_warmup": "Constant"}
ENGINES = {"trl": "TRL", "unsloth": "Unsloth"}
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def method_field(reason: str) -> None:
    st.segmented_control(
        "Method",
        list(METHODS),
        format_func=lambda name: METHODS[name],
        required=True,
        **_common("method", reason),
    )


def usual_fields(reasons: Mapping[str, str]) -> None:
    """What most people turn, each with its reason below it."""
    st.segmented_control(
        "Length of the run in",
        [EPOCHS, STEPS],
        required=True,
        **_common("by", "", "Passes over all examples, or steps of the optimiser whatever their number."),
    )
    length = "epochs" if st.session_state[f"{KEY}by"] == EPOCHS else "max_steps"
    with st.grid(3, min_column_width=150):
        for name in (length, "learning_rate", "batch_size"):
            with st.container():
                _number(name, reasons, beside=True)


def expert_fields(reasons: Mapping[str, str], counted: Counted | None) -> None:
    """Everything else, by what it is about. `counted`: the tokens of the training examples, where known."""
    full = st.session_state[f"{KEY}method"] == "full"
    with st.expander("Expert settings", icon=":material/tune:", key=f"{KEY}expert"):
        if not full:
            st.markdown("###### The adapter")
            with st.grid(3, min_column_width=150):
                for name in ("rank", "alpha", "dropout"):
                    _number(name, reasons)
            st.multiselect(
                TITLES["targets"],
                LAYERS,
                placeholder="All linear layers",
                accept_new_options=True,
                **_common("targets", reasons.get("targets", "")),
            )
        st.markdown("###### How it learns")
        with st.grid(3, min_column_width=150):
            st.selectbox(
                TITLES["schedule"],
                get_args(Schedule),
                format_func=lambda name: SCHEDULES[name],
                **_common("schedule", reasons.get("schedule", "")),
            )
            for name in ("warmup", "weight_decay", "max_grad_norm", "accumulation", "seed"):
                _number(name, reasons)
        st.markdown("###### What it reads")
        left, right = st.columns([2, 3], vertical_alignment="top")
        with left:
            _number("max_length", reasons, beside=True)
            for name in ("answers_only", "packing"):
                st.toggle(TITLES[name], **_common(name, reasons.get(name, "")))
        with right:
            _histogram(counted, st.session_state[f"{KEY}max_length"])
        st.markdown("###### How it is watched")
        with st.grid(3, min_column_width=150):
            for name in ("evaluations", "patience", "samples"):
                _number(name, reasons)
        _engine(reasons)
        _trackers()


def passage_fields() -> int | None:
    """Retrieval-aware training: the index to look things up in, or None without."""
    with st.expander("Passages, for the rag+lora rung", icon=":material/database:", key=f"{KEY}passages_fold"):
        listed = {summary.index.id: summary for summary in indexes()}
        if not listed:
            st.session_state[f"{KEY}raft"] = False
        st.toggle(
            "Show retrieved passages beside each question",
            disabled=not listed,
            **_common("raft", "", Recipe.model_fields["passages"].description),
        )
        st.caption(
            "The adapter then learns to answer from passages, some of which mislead (RAFT). It suits the rung that "
            "looks things up; one for the plain lora rung learns without."
        )
        if not listed:
            st.caption("There is no index to look things up in: add documents on the Data page first.")
            st.page_link(
                "pages/data.py", label="Add documents", icon=":material/database:", query_params={"tab": "Documents"}
            )
            return None
        if not st.session_state[f"{KEY}raft"]:
            return None
        with st.grid(3, min_column_width=150):
            if st.session_state.get(f"{KEY}index") not in listed:
                st.session_state[f"{KEY}index"] = next(iter(listed))
            chosen: int = st.selectbox(
                "Look things up in",
                list(listed),
                format_func=lambda i: (
                    f"{listed[i].index.name} ({listed[i].documents} documents, number {i})" if i in listed else str(i)
                ),
                key=f"{KEY}index",
                persist_state="session",
                help="The collection of documents that passages are taken from.",
            )
            for name, kind, step in (("count", int, 1), ("without_source", float, 0.05)):
                field = Passages.model_json_schema()["properties"][name]
                st.number_input(
                    TITLES[name],
                    kind(field["minimum"]),
                    kind(field["maximum"]),
                    step=kind(step),
                    **_common(name, "", field["description"]),
                )
        if not listed[chosen].ready:
            st.warning(
                f"{listed[chosen].waiting} of its documents are not searchable yet; the training waits for them.",
                icon=":material/hourglass:",
            )
        return chosen


def _common(name: str, reason: str, description: str | None = None) -> dict[str, Any]:
    """What every widget of the form is told: its key, its explanation, and to say when it was touched."""
    field = Recipe.model_fields.get(name)
    words = [
        description or (field.description if field else None) or "",
        plain(f"Suggested: {reason}") if reason else "",
    ]
    return {
        "key": KEY + name,
        "help": "\n\n".join(word for word in words if word) or None,
        "on_change": touch,
        "args": (name,),
        "persist_state": "session",
    }


def _number(name: str, reasons: Mapping[str, str], beside: bool = False) -> None:
    """A number input with the limits of the recipe's own field; `beside` shows the reason without asking for it."""
    look = NUMBERS[name]
    field: dict[str, Any] = Recipe.model_json_schema()["properties"][name]
    field = next(iter(field.get("anyOf", ())), field)
    kind = int if field["type"] == "integer" else float
    step = kind(look.step)
    # A limit that is itself excluded is kept away from by a fraction of a step.
    lowest = field.get("minimum", field.get("exclusiveMinimum", 0) + (0 if kind is int else step / 100))
    highest = field.get("maximum", field.get("exclusiveMaximum", 2**31) - (1 if kind is int else step))
    reason = reasons.get(name, "")
    st.number_input(
        look.label,
        kind(lowest),
        kind(highest),
        step=step,
        format=look.format,
        **_common(name, "" if beside else reason),
    )
    if beside and reason:
        st.caption(plain(reason))


def _histogram(counted: Counted | None, cut: int) -> None:
    if counted is None or not counted.lengths:
        st.caption("How long the examples are is shown here once the model is known.")
        return
    lengths = counted.lengths
    told = measured_lengths(lengths)
    over = sum(length > cut for length in lengths)
    figure = histogram("Training examples by length", {"examples": (told.edges, told.counts)}, cut)
    figure.update_layout(height=220)
    passages = " with the passages" if st.session_state[f"{KEY}raft"] else " together"
    st.plotly_chart(
        figure,
        key=f"{KEY}lengths",
        alt=f"Histogram of the tokens of {len(lengths):,} training examples; {over:,} are longer than {cut:,}",
        config={"displayModeBar": False},
    )
    st.caption(
        f"Prompt and answer{passages}: half have up to {told.percentiles[50]:,} tokens, the longest {told.largest:,}. "
        + (f"{over:,} of {len(lengths):,} would be cut." if over else "None is cut.")
        + ("" if counted.exact else " Told from the length of the texts.")
    )


def _engine(reasons: Mapping[str, str]) -> None:
    missing = unsloth_missing(st.session_state[f"{KEY}method"])
    if missing:
        st.session_state[f"{KEY}engine"] = "trl"
    st.segmented_control(
        TITLES["engine"],
        get_args(Engine),
        format_func=lambda name: ENGINES[name],
        required=True,
        disabled=bool(missing),
        **_common("engine", reasons.get("engine", "")),
    )
    if missing:
        st.caption(plain(f"Unsloth cannot be chosen. {missing}"))


def _trackers() -> None:
    absent = {name: title for name, title in TRACKERS.items() if not _installed(name)}
    st.markdown("Report to as well", help=Recipe.model_fields["report_to"].description)
    with st.container(horizontal=True):
        for name, title in TRACKERS.items():
            if name in absent:
                st.session_state[f"{KEY}report_{name}"] = False
            st.checkbox(title, disabled=name in absent, width="content", **_common(f"report_{name}", ""))
    if absent:
        st.caption(f"Not installed: {', '.join(absent.values())}. To add: `pip install {' '.join(absent)}`")


def _installed(tracker: str) -> bool:
    try:
        check_tracker([tracker])  # type: ignore[list-item]
    except UserError:
        return False
    return True
