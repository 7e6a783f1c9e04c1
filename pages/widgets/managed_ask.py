"""One question to a model that was tuned at a provider: a test question beside its reference, or one of your own."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import examples_of
from core.errors import UserError
from core.models.generation import Completion, Request, Sampling
from core.models.open import open_generator
from core.models.prompt import Message, build_messages
from pages.widgets.errors import plain
from pages.widgets.money import usd

# An answer longer than this is not needed to see whether the model has learned the form.
LONGEST = 512
# Test questions to choose from.
OFFERED = 20


def ask(model_id: str, dataset_id: int | None) -> None:
    """`dataset_id`: what it was tuned on, whose test questions it has not seen. Raises UserError."""
    st.caption(plain(f"{model_id}. The question goes to the provider, and its answer is charged there."))
    tests = [example for _, example in examples_of(dataset_id, "test", OFFERED)] if dataset_id is not None else []
    chosen = st.selectbox(
        "Question",
        [*range(len(tests)), None],
        format_func=lambda i: "A question of your own" if i is None else str(tests[i].messages[-1]["content"])[:120],
        key="managed_ask_which",
        help="Test questions were not in the training.",
    )
    wanted = None
    if chosen is None:
        own = st.text_area("Your question", key="managed_ask_own")
        chat: list[Message] = [{"role": "user", "content": own}]
        if tests and tests[0].messages[0]["role"] in ("system", "developer"):
            chat.insert(0, tests[0].messages[0])
            st.caption("It is asked under the instructions of your examples.")
    else:
        example = tests[chosen]
        chat, wanted = [*example.messages], example.reference
    ready = bool(str(chat[-1]["content"]).strip())
    if st.button("Ask", type="primary", icon=":material/send:", disabled=not ready, key="managed_ask_send"):
        with st.spinner("Waiting for the answer", show_time=True):
            st.session_state["managed_answer"] = (model_id, chat, _answer(model_id, chat))
    asked, about, answer = st.session_state.get("managed_answer", (None, None, None))
    if answer is None or asked != model_id or about != chat:
        return
    said, right = st.columns(2)
    with said:
        st.markdown("**Its answer**")
        st.code(answer.text or "The answer is empty.", language=None, wrap_lines=True)
    if wanted is not None:
        with right:
            st.markdown("**The answer you gave**")
            st.code(wanted, language=None, wrap_lines=True)
    price = f", {usd(answer.cost_usd)}" if answer.cost_usd else ""
    st.caption(
        plain(f"{answer.input_tokens:,} tokens in, {answer.output_tokens:,} out, {answer.latency_s:.1f} s{price}")
    )


def _answer(model_id: str, chat: list[Message]) -> Completion:
    """Raises UserError where there is none."""
    generator = open_generator(model_id)
    ((_, answer),) = [
        pair for batch in generator.answer([Request(build_messages(chat, (), ()))], Sampling(LONGEST)) for pair in batch
    ]
    if answer.error is not None:
        raise UserError(answer.error)
    return answer
