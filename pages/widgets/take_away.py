"""An adapter to take away: as it is, merged, for llama.cpp and Ollama, as a server, or to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.models.catalogue import BUNDLED_MODEL
from core.models.package import client_code, vllm_command
from core.publish import compose, exports, gguf, hub
from core.publish.checking import EXAMPLES
from core.store.tables import Adapter
from pages.widgets.adapter_view import download_buttons
from pages.widgets.errors import guard, plain
from pages.widgets.export_jobs import export_jobs
from pages.widgets.export_list import draw as draw_exports
from pages.widgets.export_list import title_of
from pages.widgets.sources import size_in_words

KINDS = {
    "f32": "32 bits: answers as the adapter does",
    "f16": "16 bits",
    "bf16": "16 bits, bfloat",
    "q8_0": "8 bits: hardly worse",
    "q6_k": "6 bits",
    "q5_k_m": "5 bits",
    "q4_k_m": "4 bits: small, a little worse",
}


def take_away(adapter: Adapter) -> None:
    """The ways, what is being made, and what was made."""
    way = st.segmented_control("What to take", list(WAYS), default=ADAPTER, required=True, key=f"take_{adapter.id}")
    with st.container(border=True), guard():
        WAYS[str(way)](adapter)
    export_jobs(adapter)
    draw_exports(adapter)


def _adapter(adapter: Adapter) -> None:
    with st.container(horizontal=True):
        download_buttons(adapter)
    st.caption("Weights as safetensors, configuration and the model card; unpack it beside your code.")
    st.code(client_code(adapter.base_model, method=adapter.method), language="python", wrap_lines=True)
    if adapter.base_model == BUNDLED_MODEL and adapter.method != "full":
        st.caption(
            "This code loads the base model as it is published. The one bundled here was packed into four bits, so "
            "some answers will differ: a merged model carries exactly the one that was measured."
        )


def _merged(adapter: Adapter) -> None:
    st.markdown(
        "One model that needs neither the base nor the adapter beside it, as safetensors in 32 bits. "
        f"It is read back from disk and asked up to {EXAMPLES} of the adapter's own test examples: its answers are "
        "compared with the live adapter's letter by letter, and it is called good only if they agree or score the same."
    )
    if adapter.method == "qlora":
        st.caption(
            "The adapter was trained while its base was held in four bits (NF4). It is merged into the whole base, "
            "with which Lowest Rung answers too."
        )
    if st.button("Merge and check", type="primary", icon=":material/merge:", key=f"export_merged_{adapter.id}"):
        exports.submit(adapter, "merged")
        st.rerun()


def _gguf(adapter: Adapter) -> None:
    found = gguf.tools()
    if found is None:
        st.info(
            "llama.cpp's converter makes these files, and it is not installed here. It is free, and a download of its "
            "sources is enough:",
            title="One more program is needed",
        )
        st.code(gguf.how_to_install(), language="bash", wrap_lines=True)
        st.caption("Or take the merged model to where llama.cpp is, and run this beside its folder:")
        st.code(gguf.by_hand(), language="bash", wrap_lines=True)
        return
    st.markdown(
        "One file for llama.cpp, Ollama and the programs built on them, with a Modelfile that tells Ollama how a chat "
        "is written and where an answer ends. It is read back and compared with the live adapter as a merged model is."
    )
    kind = st.selectbox(
        "How numbers are kept",
        list(found.types),
        index=list(found.types).index("q8_0"),
        format_func=lambda name: f"{name} · {KINDS[name]}",
        key=f"gguf_kind_{adapter.id}",
        help="Fewer bits make a smaller, faster file whose answers stray further. What that costs is measured.",
    )
    if found.quantiser is None:
        st.caption(f"For four to six bits, llama.cpp's {gguf.QUANTISER} has to be built as well.")
    if st.button("Convert and check", type="primary", icon=":material/deployed_code:", key=f"export_gguf_{adapter.id}"):
        exports.submit(adapter, "gguf", kind=kind)
        st.rerun()


def _server(adapter: Adapter) -> None:
    # vLLM knows no DoRA; merged it serves them like any model.
    merged = adapter.method in ("dora", "full")
    folder, method = ("merged", "full") if merged else ("adapter", adapter.method)
    rank = int(adapter.recipe.get("rank", 16))
    if adapter.method == "dora":
        st.caption("vLLM does not serve DoRA adapters as they are: take the merged model, which it does serve.")
    command, of_vllm, own = st.tabs(["vLLM command", "vLLM in Docker", "This server in Docker"])
    command.code(vllm_command(adapter.base_model, rank, folder, method), language="bash", wrap_lines=True)
    command.caption(
        f"On a machine with a GPU, beside the unpacked folder {folder}. It then answers as the model "
        f"{'my-model' if merged else 'my-adapter'}."
    )
    _file(of_vllm, compose.vllm_server(adapter.base_model, rank, folder, method), "compose.yaml", adapter.id, "vllm")
    _file(own, compose.own_server(), "compose.yaml", adapter.id, "own")
    _file(own, compose.DOCKERFILE, "Dockerfile", adapter.id, "image")


def _file(place: st.delta_generator.DeltaGenerator, text: str, name: str, adapter_id: int, what: str) -> None:
    place.code(text, language="yaml" if name.endswith("yaml") else "docker", wrap_lines=True, height=320)
    place.download_button(
        name, text, name, icon=":material/download:", on_click="ignore", key=f"download_{what}_{adapter_id}"
    )


def _hub(adapter: Adapter) -> None:
    made = {one.id: one for one in exports.exports(adapter.id)}
    # Another key is another, empty field: the token is forgotten once it was handed over.
    pushes = st.session_state.get("pushes", 0)
    with st.form(f"push_{adapter.id}", border=False):
        with st.grid(2, min_column_width=260):
            repo = st.text_input(
                "Repository",
                placeholder="my-team/my-model",
                max_chars=96,
                key=f"push_repo_{adapter.id}",
                help="It is made if there is none. Without an owner it is yours.",
            )
            token = st.text_input(
                "Token that may write",
                type="password",
                autocomplete="off",
                key=f"push_token_{pushes}",
                help="From https://huggingface.co/settings/tokens. It is used for this push and kept nowhere.",
            )
        chosen = st.selectbox(
            "What to push",
            [0, *made],
            format_func=lambda i: title_of(made[i]) if i in made else "The adapter",
            key=f"push_what_{adapter.id}",
        )
        private = st.toggle("Private", value=True, key=f"push_private_{adapter.id}", help="Seen by its owner alone.")
        pushed = st.form_submit_button("Push", type="primary", icon=":material/cloud_upload:")
    st.caption("What leaves this machine: the files of your choice and their card. Your examples are not among them.")
    if pushed:
        hub.push(adapter, repo.strip(), token, private=private, export_id=chosen or None)
        st.session_state["pushes"] = pushes + 1
        st.rerun()


def all_exports() -> None:
    """What all exports take of the disk, those of adapters that are gone among them; nothing when there are none."""
    listed = exports.exports()
    if not listed:
        return
    size = size_in_words(sum(one.bytes for one in listed))
    with st.expander(f"All exports: {len(listed)}, {size}", icon=":material/deployed_code:", key="all_exports"):
        for one in listed:
            with st.container(horizontal=True, vertical_alignment="center"):
                words = f"**{plain(one.adapter_name, 80)}**, {plain(title_of(one))}, {size_in_words(one.bytes)}"
                st.markdown(words, width="content")
                if st.button("Delete", icon=":material/delete:", key=f"all_exports_delete_{one.id}"):
                    with guard():
                        exports.delete(one.id)
                        st.rerun()


ADAPTER = "Adapter"
WAYS: dict[str, Callable[[Adapter], None]] = {
    ADAPTER: _adapter,
    "Merged model": _merged,
    "GGUF and Ollama": _gguf,
    "As a server": _server,
    "Hugging Face hub": _hub,
}
