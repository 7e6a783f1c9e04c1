"""What a profile found, row by row: copies, conflicts, personal data, and the form of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

import streamlit as st

from core.data.profile import AnswerFormat, Profile
from pages.widgets.opening import opening_table
from pages.widgets.tables import table
from pages.widgets.words import many, percent

WIDE = st.column_config.TextColumn(width="medium")


def findings(found: Profile, ids: Mapping[int, int]) -> None:
    """`ids`: the row ids of the positions that the profile names."""
    _mute(found, ids)
    _near(found, ids)
    _conflicts(found, ids)
    _personal(found, ids)
    if found.answers is not None:
        _answers(found.answers)


def _mute(found: Profile, ids: Mapping[int, int]) -> None:
    if not found.mute_positions:
        return
    with st.expander("Examples with nothing left to learn", icon=":material/content_cut:"):
        st.caption(f"Their prompt alone reaches {found.max_length:,} tokens. Shorten it, or cut later.")
        rows = [{"example": position + 1} for position in found.mute_positions]
        opening_table(rows, [ids[p] for p in found.mute_positions], "Examples whose answer is cut off", "open_mute")


def _near(found: Profile, ids: Mapping[int, int]) -> None:
    pairs = found.duplicates.pairs
    if not pairs:
        return
    with st.expander(f"Near duplicates: {many(found.duplicates.near, 'example')}", icon=":material/content_copy:"):
        st.caption(
            "Pairs of prompts that say nearly the same. They never stand in different parts; remove one of a pair "
            "where it teaches nothing new."
        )
        rows = [
            {"prompt": one, "nearly the same": other, "shared": percent(similarity)}
            for _, _, one, other, similarity in pairs
        ]
        columns = {"prompt": WIDE, "nearly the same": WIDE}
        opening_table(rows, [ids[pair[1]] for pair in pairs], "Pairs of prompts that are alike", "open_near", columns)


def _conflicts(found: Profile, ids: Mapping[int, int]) -> None:
    if not found.conflicts:
        return
    with st.expander(
        f"Conflicting answers: {many(found.conflicting_prompts, 'prompt')}, "
        f"{many(found.conflicting_examples, 'example')}",
        icon=":material/compare_arrows:",
    ):
        st.caption("One prompt with different answers. Keep the right one, unless several are right.")
        rows = [
            {"prompt": conflict.prompt, "one answer": conflict.answers[0], "another answer": conflict.answers[1]}
            for conflict in found.conflicts
        ]
        columns = {"prompt": WIDE, "one answer": WIDE, "another answer": WIDE}
        opening_table(
            rows,
            [ids[conflict.second] for conflict in found.conflicts],
            "Prompts with different answers",
            "open_conflict",
            columns,
        )


def _personal(found: Profile, ids: Mapping[int, int]) -> None:
    if not found.flags:
        return
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.personal.items())
    with st.expander(f"Personal data: {kinds}", icon=":material/shield_person:"):
        st.caption(
            "What looks like personal data, by place; what it says is shown only in the example itself. A model can "
            "repeat what it was trained on: mask or remove it where you may not keep it."
        )
        rows = [
            {"kind": flag.kind, "in the": flag.part, "part": flag.split, "example": flag.position + 1}
            for flag in found.flags
        ]
        opening_table(rows, [ids[flag.position] for flag in found.flags], "Places of personal data", "open_personal")
        if len(found.flags) < sum(found.personal.values()):
            st.caption(f"The first {len(found.flags)} are listed.")


def _answers(answers: AnswerFormat) -> None:
    """Which answers come again, how they begin, and what their JSON looks like."""
    with st.expander("Form of the answers", icon=":material/data_object:"):
        st.text(
            f"{answers.distinct:,} different answers among {answers.measured:,}; {percent(answers.repeated)} are "
            f'answers that come three times or more; {percent(answers.opening_share)} begin with "{answers.opening}".'
        )
        if answers.common:
            st.caption("The most frequent answers")
            rows = [{"answer": text, "times": count} for text, count in answers.common]
            table(
                rows, "The most frequent answers", column_config={"answer": st.column_config.TextColumn(width="large")}
            )
        if answers.json_keys:
            st.caption("Keys of the answers that are JSON objects")
            rows = [{"key": key, "in objects": percent(share)} for key, share in answers.json_keys.items()]
            table(rows, "Keys of JSON answers and how many objects have them", width="content")
        if answers.json_schema is not None:
            schema = json.dumps(answers.json_schema, ensure_ascii=False, indent=2)
            st.caption("The JSON Schema that they all fit")
            st.code(schema, language="json", height=320, wrap_lines=True)
            st.download_button(
                "Download the schema",
                schema,
                "answers.schema.json",
                "application/schema+json",
                key="schema_download",
                icon=":material/download:",
                on_click="ignore",
            )
