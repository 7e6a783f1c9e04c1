"""What the form of a comparison holds: the values of its fields, and the plan that they say.

Every field has the key `compare_NAME`, so the plan can be read before its fields are drawn, and a form can be filled
from an earlier experiment.
"""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.errors import UserError
from core.evaluate.plan import JudgePlan, MetricChoice, Plan, metrics_of
from core.evaluate.rungs import CUBE, Rung, names_of
from core.evaluate.statistics import DELTA
from core.store import lists
from core.store.tables import Experiment
from pages.widgets.errors import guard, plain

KEY = "compare_"
AGAIN = "again"
# The experiment that the form was filled from, whose data it must keep to count as run again.
EARLIER = "compare_earlier"
# Stand for an adapter that is still to be trained, and for no documents; ids begin at 1.
NEW = NONE = 0
SAME = "as the index says"
# Keys of a row of the rungs on other models.
ROWS = f"{KEY}rows"
MODEL, SHOWN, ADAPTER, TUNED = "model", "shown", "adapter", "tuned"
SHOTS, RETRIEVAL = "Worked examples", "Passages"
# An adapter field of a row: none, or the comparison's own; else an adapter's id.
NO_ADAPTER, OWN_ADAPTER = -1, 0
# What an experiment was filled with, for parts that are drawn by others: metrics and judge begin anew with it.
FILLED = f"{KEY}filled"
TITLES = {
    "shots": "Worked examples in a prompt",
    "shot_choice": "Which examples",
    "shot_ids": "Worked examples",
    "passages": "Passages per question",
    "retrieval": "Search",
    "template": "Prompt",
    "max_new_tokens": "Longest answer",
    "temperature": "Temperature",
    "top_p": "Top-p",
    "samples": "Answers to each question",
    "seed": "Seed",
    "spending_cap_usd": "Spending cap",
    "rungs": "Rungs",
}
_ALIKE = ("shots", "shot_choice", "shot_ids", "passages", "max_new_tokens", "temperature", "top_p", "samples", "seed")


def settle() -> None:
    """Before any field is drawn: those that are empty take what an expert would start from."""
    for name, value in _as_state(Plan()).items():
        st.session_state.setdefault(KEY + name, value)
    st.session_state.setdefault(f"{KEY}target", None)
    st.session_state.setdefault(f"{KEY}delta", 100 * DELTA)
    st.session_state.setdefault(ROWS, [])


def plan_on_screen(rungs: list[Rung], judge: JudgePlan | None, answers: dict[str, Any]) -> Plan:
    """The plan as it stands in the form. Raises UserError where a field holds what no plan may."""
    state = {name: st.session_state[KEY + name] for name in _as_state(Plan())}
    fields = {name: state[name] for name in _ALIKE} | {
        "rungs": [vars(rung) for rung in rungs],
        "retrieval": {
            "mode": None if state["mode"] == SAME else state["mode"],
            "dense_weight": None if state["dense_weight"] is None else state["dense_weight"] / 100,
            "reranker": state["reranker"].strip() or None,
            "min_score": state["min_score"],
        },
        "template": {
            "system": state["system"].strip() or None,
            "question": state["question"],
            "passages": state["quoting"].strip() or None,
        },
        "rag_adapter_id": state["rag_adapter"] or None,
        "spending_cap_usd": state["cap"],
        "samples": state["samples"] if state["temperature"] > 0 else 1,
        "shot_ids": state["shot_ids"] if state["shot_choice"] == "chosen" else [],
        "minimums": {rung.name: state["minimums"][rung.name] for rung in rungs if rung.name in state["minimums"]},
        "judge": judge,
        "answers": answers,
    }
    try:
        return Plan.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "samples"
        why = str(first["msg"]).removeprefix("Value error, ")
        raise UserError(f"{TITLES.get(field, field)}: {why}.", "Change it in the form.") from error


def extra_rungs() -> list[Rung]:
    """The rungs on other models, as their rows stand; a row whose model is still to be chosen is none."""
    rungs = []
    for row in st.session_state[ROWS]:
        held: dict[str, Any] = {
            part: st.session_state.get(row_key(row, part)) for part in (MODEL, SHOWN, ADAPTER, TUNED)
        }
        if held[MODEL] is None:
            continue
        adapter = NO_ADAPTER if held[ADAPTER] is None or held[TUNED] else int(held[ADAPTER])
        shown = held[SHOWN] or []
        rungs.append(
            Rung(
                shots=SHOTS in shown,
                retrieval=RETRIEVAL in shown,
                adapter=adapter != NO_ADAPTER,
                model=held[MODEL].strip(),
                adapter_id=adapter if adapter > 0 else None,
                tuned=bool(held[TUNED]),
            )
        )
    return rungs


def row_key(row: int, part: str) -> str:
    return f"{KEY}row_{row}_{part}"


def add_row(rung: Rung | None = None) -> None:
    """One more rung on another model; `rung` says what it holds, else its model is still to be chosen."""
    model, rung = rung.model if rung else None, rung or Rung()
    number = st.session_state.get(f"{KEY}row_last", 0) + 1
    st.session_state[f"{KEY}row_last"] = number
    st.session_state[ROWS] = [*st.session_state.get(ROWS, []), number]
    shown = [title for title, on in ((SHOTS, rung.shots), (RETRIEVAL, rung.retrieval)) if on]
    adapter = NO_ADAPTER if not rung.adapter else rung.adapter_id or OWN_ADAPTER
    for part, value in ((MODEL, model), (SHOWN, shown), (ADAPTER, adapter), (TUNED, rung.tuned)):
        st.session_state[row_key(number, part)] = value


def remove_row(row: int) -> None:
    st.session_state[ROWS] = [other for other in st.session_state[ROWS] if other != row]


def fill_again() -> None:
    """If the address asks for an experiment once more, fill the form with it, before any field is drawn."""
    wanted = st.query_params.get(AGAIN, "")
    if not wanted:
        return
    del st.query_params[AGAIN]
    with guard():
        if not wanted.isdigit():
            raise UserError("This link names no comparison.", "Open a comparison and choose to run it again.")
        experiment = lists.experiment(int(wanted))
        fill(experiment)
        st.session_state[EARLIER] = experiment.id
        st.toast(plain(f"Filled from {experiment.name}. Nothing that stays the same is asked again."))


def earlier_on(dataset_id: int) -> int | None:
    """The experiment that the form was filled from, if the same data are still asked about."""
    earlier = st.session_state.get(EARLIER)
    try:
        return earlier if earlier and lists.experiment(earlier).dataset_id == dataset_id else None
    except UserError:
        return None


def fill(experiment: Experiment) -> None:
    """Put an experiment's plan into the form."""
    plan = Plan.model_validate(experiment.spec)
    state: dict[str, Any] = _as_state(plan) | {
        "dataset": experiment.dataset_id,
        "index": experiment.index_id or NONE,
        "adapter": experiment.adapter_id or NEW,
        "model": experiment.model,
        "target": None if experiment.target is None else 100 * experiment.target,
        "delta": 100 * experiment.delta,
        "name": experiment.name,
        "seed": experiment.seed,
    }
    usual = names_of(CUBE)
    state["rungs"] = [rung.name for rung in plan.ladder if rung.name in usual]
    for name, value in state.items():
        st.session_state[KEY + name] = value
    st.session_state[ROWS] = []
    for rung in plan.ladder:
        if rung.name not in usual:
            add_row(rung)
    st.session_state[FILLED] = (experiment.id, metrics_of(experiment), plan.judge)


def filled() -> tuple[int, list[MetricChoice] | None, JudgePlan | None]:
    """(number of the experiment that the form was filled with, its metrics, its judge); 0 and nothing without one."""
    found: tuple[int, list[MetricChoice] | None, JudgePlan | None] = st.session_state.get(FILLED, (0, None, None))
    return found


def _as_state(plan: Plan) -> dict[str, Any]:
    """What the fields hold when they say this plan; rungs and judge have fields of their own."""
    search, template = plan.retrieval, plan.template
    return {name: getattr(plan, name) for name in _ALIKE} | {
        "mode": search.mode or SAME,
        "dense_weight": None if search.dense_weight is None else round(100 * search.dense_weight),
        "reranker": search.reranker or "",
        "min_score": search.min_score,
        "system": template.system or "",
        "question": template.question,
        "quoting": template.passages or "",
        "rag_adapter": plan.rag_adapter_id or NEW,
        "cap": plan.spending_cap_usd,
        "minimums": dict(plan.minimums),
    }
