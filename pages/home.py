"""Home: what this is in ten seconds, three ways in, and the demo project as it runs."""

from __future__ import annotations

import streamlit as st

from core.demo import demo_experiments, load_demo
from pages.widgets.demo import draw_demo, start
from pages.widgets.errors import guard, plain
from pages.widgets.ladder import RUNG_MEANING, draw_ladder, ladder_figure, plain_ladder
from pages.widgets.managed_parts import PART_PARAM

st.title("Find the lowest rung that works")
st.markdown(
    "Prompt, retrieve or fine-tune? **Retrieve for knowledge, fine-tune for behaviour, try the prompt first, and "
    "measure before you trust either.** Lowest Rung builds each of them on your own examples, scores them side by "
    "side, and names the cheapest one that is good enough, or says that nobody can tell yet."
)

experiments = demo_experiments()
if experiments:
    draw_demo(experiments)

picture, ways = st.columns([1, 1], gap="large")
with picture:
    draw_ladder(
        ladder_figure(plain_ladder(), "The ladder"),
        "home_ladder",
        "The ladder: base, prompt, rag, lora, rag+lora and managed, from cheap and flexible to costly and rigid",
    )
with ways:
    st.subheader("Three ways in")
    with st.container(border=True):
        st.markdown("**See it work.** " + plain(load_demo().company))
        st.caption(
            "Three small tasks whose right answers differ. Real runs on this machine, about ten minutes on two cores."
        )
        if not experiments:
            if st.button("Start the demo", type="primary", icon=":material/play_arrow:", key="start_demo"):
                with guard():
                    start()
                    st.rerun()
        else:
            with st.popover("Run the demo again", icon=":material/replay:"):
                st.text(
                    "This imports the data once more and trains and measures all three tasks anew. "
                    "What was measured before is kept on the Compare page."
                )
                if st.button("Run it again", key="restart_demo", type="primary"):
                    with guard():
                        start(again=True)
                        st.rerun()
    with st.container(border=True):
        st.markdown("**Get advice.** A sentence or some answers lead to the rung to try first, with reasons and costs.")
        if st.button("Get advice", icon=":material/alt_route:", key="to_decide"):
            st.switch_page("pages/decide.py")
    with st.container(border=True):
        st.markdown("**Measure your own.** Bring examples as chat JSONL, and documents if you have them.")
        if st.button("Bring your data", icon=":material/upload:", key="to_data"):
            st.switch_page("pages/data.py")
    st.page_link(
        "pages/train.py",
        label="A fine-tune at a provider that closes? Bring it here",
        icon=":material/download:",
        query_params={PART_PARAM: "bring"},
        width="content",
    )

with st.expander("What the rungs mean", icon=":material/stairs:"):
    for rung, meaning in RUNG_MEANING.items():
        st.markdown(f"**{plain(rung)}** {meaning}")
    st.caption(
        "A managed fine-tune is bought at a provider, on Train; Compare then measures it beside the rungs below it."
    )
