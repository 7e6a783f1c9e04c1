"""What a data set is like: what it teaches, how long its texts are, what comes twice, what should not be in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.data.dataset import SPLITS, stream_examples
from core.data.example import Example
from core.data.profile import Hint, Lengths, Profile, hint, profile, rendered
from core.models.catalogue import BUNDLED_MODEL
from core.store.tables import Dataset
from core.train.recipe import Recipe
from pages.widgets.errors import plain
from pages.widgets.forms import MODELS
from pages.widgets.once import known, once
from pages.widgets.profile_charts import MOST_BARS, histogram, shares
from pages.widgets.profile_findings import findings
from pages.widgets.words import many, percent

# Profiled at once when the view is opened: a few seconds, with the tokenizer's first start.
PROFILED_AT_ONCE = 20_000
LENGTH = Recipe.model_fields["max_length"]
HINTS = {
    "behaviour": ("This teaches behaviour: a candidate for fine-tuning", ":material/model_training:"),
    "knowledge": ("These are facts: they belong in retrieval", ":material/database:"),
    "both": ("Both: a form to teach, and facts to look up", ":material/call_split:"),
    "unclear": ("What it teaches is not clear", ":material/help:"),
}


@dataclass(frozen=True)
class Profiled:
    """A profile, and the row ids of the positions it names."""

    profile: Profile
    ids: dict[int, int]


def profile_view(dataset: Dataset) -> None:
    with st.grid(2, min_column_width=240):
        model = st.selectbox(
            "Tokens of which model?",
            list(MODELS),
            format_func=lambda name: MODELS[name].title if name in MODELS else name,
            key="profile_model",
            accept_new_options=True,
            persist_state="session",
            help="Each model cuts texts into tokens its own way. Choose one, or type a Hugging Face id or a folder.",
        )
        length = st.number_input(
            "Cut at, tokens",
            16,
            131_072,
            LENGTH.default,
            key="profile_length",
            persist_state="session",
            help="Prompt and answer together, as they are trained on; what is longer loses its end.",
        )
    total = sum(dataset.notes["counts"].values())
    key = ("profile", dataset.id, dataset.hash, str(model), int(length))
    if not known(key) and total > PROFILED_AT_ONCE:
        st.markdown(f"Reading {many(total, 'example')} takes a while, about half a minute for each 100,000.")
        if not st.button("Profile them", type="primary", icon=":material/analytics:", key="profile_now"):
            return
    found = once(key, lambda: _measure(dataset, str(model or BUNDLED_MODEL), int(length), total))
    if not found.profile.examples:
        st.caption("There is nothing to profile.")
        return
    _hint(hint(found.profile))
    _figures(found.profile)
    _lengths(found.profile)
    _spread(found.profile)
    findings(found.profile, found.ids)
    if found.profile.sampled:
        st.caption(found.profile.sampled)


def _measure(dataset: Dataset, model: str, length: int, total: int) -> Profiled:
    """Read every example, saying how far it is; a click elsewhere ends it."""
    place = st.empty()
    place.progress(0.0, text="Opening the tokenizer, which takes longer the first time")
    from core.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model)
    ids: list[int] = []

    def examples() -> Iterator[tuple[str, Example]]:
        for split in SPLITS:
            for row_id, example in stream_examples(dataset.id, split):
                ids.append(row_id)
                yield split, example

    def count(texts: Sequence[str]) -> list[int]:
        encoded: Any = tokenizer(list(texts), add_special_tokens=False)
        return [len(tokens) for tokens in encoded["input_ids"]]

    def tell(done: int) -> None:
        text = f"Reading: {done:,} of {total:,}" if done < total else "Measuring lengths, languages and likeness"
        place.progress(min(0.95, 0.95 * done / max(1, total)), text=text)

    found = profile(examples(), count, length, tell, texts=rendered(tokenizer))
    place.empty()
    named = {flag.position for flag in found.flags} | set(found.mute_positions)
    named |= {position for conflict in found.conflicts for position in (conflict.first, conflict.second)}
    named |= {position for pair in found.duplicates.pairs for position in pair[:2]}
    return Profiled(found, {position: ids[position] for position in named})


def _hint(told: Hint) -> None:
    """The advice first, with its reason, and the way there."""
    title, icon = HINTS[told.kind]
    with st.container(border=True):
        st.markdown(f"#### {icon} {title}")
        st.markdown(plain(told.why[:1].upper() + told.why[1:]))
        with st.container(horizontal=True):
            if told.kind in ("knowledge", "both") and st.button(
                "Bring documents", icon=":material/database:", key="hint_documents"
            ):
                st.switch_page("pages/data.py", query_params={"tab": "Documents"})
            if st.button("Ask Decide", icon=":material/alt_route:", key="hint_decide"):
                st.switch_page("pages/decide.py")
        st.caption("Read from the texts alone. Only comparing the rungs on your own test shows what works.")


def _figures(found: Profile) -> None:
    copies = found.duplicates
    with st.grid(3, min_column_width=165):
        st.metric(
            "Cut off",
            percent(found.truncated),
            border=True,
            help=f"Examples longer than {found.max_length:,} tokens, prompt and answer together. They lose their end.",
        )
        st.metric(
            "Nothing left to learn",
            percent(found.mute),
            border=True,
            help="Examples whose prompt alone reaches the cut: the whole answer is lost.",
        )
        st.metric(
            "Copies",
            f"{copies.exact + copies.normalised:,}",
            border=True,
            help=f"{copies.exact:,} repeat an example letter by letter, {copies.normalised:,} but for case, "
            "punctuation and white space.",
        )
        st.metric(
            "With a near duplicate",
            f"{copies.near:,}",
            border=True,
            help=f"Prompts that say nearly the same as another, in {copies.near_clusters:,} clusters; "
            f"{copies.compared:,} were compared.",
        )
        st.metric(
            "Conflicting prompts",
            f"{found.conflicting_prompts:,}",
            border=True,
            help="The same prompt with different answers: a model cannot learn both.",
        )
        st.metric(
            "Personal data",
            f"{sum(found.personal.values()):,}",
            border=True,
            help="Places that look like an e-mail address, a phone number, a card number or a key.",
        )
    st.markdown(_in_words(found))


def _in_words(found: Profile) -> str:
    """Everything that is only worth a sentence."""
    turns = max(found.turns, key=lambda number: found.turns[number], default=0)
    parts = [f"{many(found.examples, 'example')} from {many(found.groups, 'group')}"]
    if len(found.turns) == 1:
        parts.append(f"{turns} turns each, answer included")
    elif found.turns:
        parts.append(f"{min(found.turns)} to {max(found.turns)} turns, mostly {turns}")
    for number, what in (
        (found.with_system, "an instruction"),
        (found.with_tools, "tools"),
        (found.with_context, "a passage"),
    ):
        if number:
            parts.append(f"{'all' if number == found.examples else f'{number:,}'} with {what}")
    return plain("; ".join(parts) + ".")


def _lengths(found: Profile) -> None:
    st.markdown("#### Lengths")
    with st.grid(2, min_column_width=320):
        for name, lengths in (("Prompts", found.prompt_tokens), ("Answers", found.answer_tokens)):
            if lengths is not None:
                with st.container():
                    _histogram(name, lengths, found.max_length)


def _histogram(name: str, lengths: Lengths, cut: int) -> None:
    middle, most = lengths.percentiles[50], lengths.percentiles[95]
    # A line far beyond all bars would press them flat; the caption says where it is.
    near = cut <= 1.5 * lengths.largest
    st.plotly_chart(
        histogram(f"{name}, tokens", {name.lower(): (lengths.edges, lengths.counts)}, cut if near else None),
        key=f"profile_{name}",
        config={"displayModeBar": False},
        alt=f"Histogram of {name.lower()} in tokens: half have at most {middle:,}, 95 of 100 at most {most:,}",
    )
    st.caption(
        f"Half have at most {middle:,} tokens, 95 of 100 at most {most:,}, the longest {lengths.largest:,}."
        + ("" if near else f" The cut at {cut:,} is far beyond.")
    )


def _spread(found: Profile) -> None:
    """The form of the answers, languages, and labels by part."""
    with st.grid(2, min_column_width=320):
        for title, key, series in (
            ("Form of the answers", "kinds", found.answers.kinds if found.answers else {}),
            ("Languages of the prompts", "languages", found.languages),
        ):
            with st.container():
                _shares(title, key, series)
    if found.labels:
        labels = {split: found.labels[split] for split in SPLITS if split in found.labels}
        listed = f"the {MOST_BARS} most frequent of {found.different_labels:,}"
        title = f"Labels, {listed}" if found.different_labels > MOST_BARS else "Labels"
        st.plotly_chart(
            shares(title, labels),
            key="profile_labels",
            config={"displayModeBar": False},
            alt=f"Share of labels in each part, {found.different_labels:,} in all",
        )
    elif found.answers and found.answers.common and found.answers.distinct <= MOST_BARS:
        # Few different answers are labels in all but name.
        answers = {answer: count / found.answers.measured for answer, count in found.answers.common}
        _shares("Answers", "answers", answers)


def _shares(title: str, key: str, series: Mapping[str, float]) -> None:
    """A chart, or a sentence where there is nothing to compare."""
    said = ", ".join(f"{name} {percent(share)}" for name, share in list(series.items())[:5])
    if len(series) < 2:
        st.markdown(f"**{title}:** {plain(said or 'the texts are too short to tell')}")
        return
    chart = shares(title, {"share": series})
    st.plotly_chart(chart, key=f"profile_{key}", config={"displayModeBar": False}, alt=f"{title}: {said}")
