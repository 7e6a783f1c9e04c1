"""What the rungs are, told to people who decide: the book or the school, and what each way of training takes."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import yaml

from core.decide.assumptions import LONGEST, open_models
from core.decide.prices import GpuPrice, prices
from core.decide.rulebook import FOLDER, rulebook
from core.models.estimate import Memory, Method, Shape, training_hours, training_memory
from core.train.recipe import Recipe
from pages.widgets.errors import plain
from pages.widgets.look import ink
from pages.widgets.words import duration

METHODS: tuple[Method, ...] = get_args(Method)
TITLES: dict[Method, str] = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA"}
DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
DEFAULT_GPU = "rtx-4090"
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
EPOCHS = 3
RANK: int = Recipe.model_fields["rank"].default
# Muted, told apart by lightness, and none of them a rung's.
PARTS = {
    "weights": ("Model", "#3B6A85"),
    "adapter": ("Adapter", "#C9B458"),
    "gradients": ("Gradients", "#8FB3C7"),
    "optimiser": ("Optimiser", "#6B6FA3"),
    "activations": ("Activations", "#B58A6A"),
    "logits": ("Word scores", "#D9C3AE"),
    "overhead": ("GPU software", "#9AA0A8"),
}


@cache
def texts() -> dict[str, Any]:
    """learn.yaml as it is."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "learn.yaml").read_text(encoding="utf-8"))
    return found


def draw_learn(default_model: str | None = None) -> None:
    """The whole explainer. `default_model` is the open model that is chosen at first."""
    _book_or_school()
    _versus()
    _ways_to_train(default_model or DEFAULT_MODEL)
    _evidence()


def _book_or_school() -> None:
    with st.grid(2, min_column_width=280):
        for card in texts()["cards"]:
            with st.container(border=True, height="stretch"):
                st.markdown(f"#### :material/{card['icon']}: {card['title']}")
                st.markdown(card["text"])
                st.markdown(f"**{card['for']}**")
                st.caption(card["means"])
    st.markdown(f"**{texts()['rule']}**")
    st.markdown(texts()["compose"])


def _versus() -> None:
    st.markdown("#### Retrieval or fine-tuning, point by point")
    columns = ["", "Retrieval", "Fine-tuning"]
    rows = [[f"**{first}**", second, third] for first, second, third in texts()["versus"]]
    st.table(
        pd.DataFrame(rows, columns=columns),
        hide_index=True,
        border="horizontal",
        alt="Retrieval against fine-tuning in seven points",
    )


def _ways_to_train(default_model: str) -> None:
    st.markdown("#### Full fine-tuning, LoRA or QLoRA: what training takes")
    models = open_models()
    with st.grid(4, min_column_width=165):
        model = st.selectbox(
            "Open model",
            list(models),
            list(models).index(default_model if default_model in models else DEFAULT_MODEL),
            format_func=lambda name: models[name].title,
            key="learn_model",
            persist_state="session",
        )
        gpu_id = st.selectbox(
            "GPU",
            [gpu.id for gpu in prices().gpus],
            [gpu.id for gpu in prices().gpus].index(DEFAULT_GPU),
            format_func=lambda name: f"{prices().gpu(name).title}, ${prices().gpu(name).usd_per_hour:.2f} an hour",
            key="learn_gpu",
            persist_state="session",
        )
        length = st.selectbox(
            "Longest example, tokens",
            LENGTHS,
            LENGTHS.index(1024),
            key="learn_length",
            persist_state="session",
            help="Prompt and answer together. A token is about three quarters of an English word. Examples are taken "
            "to be half as long on average.",
        )
        examples = st.number_input(
            "Examples",
            50,
            1_000_000,
            500,
            50,
            key="learn_examples",
            persist_state="session",
            help=f"Each is read {EPOCHS} times.",
        )
    shape, gpu = models[model].shape, prices().gpu(gpu_id)
    assert shape is not None
    memories = {method: training_memory(shape, method, rank=RANK, sequence=length, batch=1) for method in METHODS}
    ways = [f"- **{TITLES[m]}**: {texts()['methods'][m]} {plain(fits(memories[m], gpu))}" for m in METHODS]
    st.markdown("\n".join(ways))
    st.plotly_chart(
        memory_figure(memories, gpu),
        key="learn_memory",
        config={"displayModeBar": False},
        alt="GPU memory of full fine-tuning, LoRA and QLoRA by part: "
        + ", ".join(f"{TITLES[method]} {memory.total:.1f} GB" for method, memory in memories.items()),
    )
    tokens = EPOCHS * examples * length / LONGEST
    st.table(
        pd.DataFrame(way_rows(shape, memories, gpu, tokens), columns=["", *TITLES.values()]),
        hide_index=True,
        border="horizontal",
        alt="Trained parameters, memory, time, bill and file size of three ways to train",
    )
    st.caption(
        f"One training run of {examples:,} examples, {EPOCHS} epochs, one example at a time, rank {RANK}, on one GPU. "
        "Estimated from the model's shape; expect real figures within a factor of 1.5. Where it does not fit, time and "
        "bill are those of a GPU as fast with enough memory."
    )
    with st.expander("What the parts of the memory are", icon=":material/memory:"):
        st.markdown("\n".join(f"- **{title}**: {texts()['parts'][part]}" for part, (title, _) in PARTS.items()))
    full = rulebook().texts.full_fine_tuning
    st.markdown(f"**When is full fine-tuning right?** {plain(full.text)}")


def fits(memory: Memory, gpu: GpuPrice) -> str:
    """Whether a training fits on a GPU, and if not, on which it would."""
    need = f"It takes {memory.total:,.1f} GB"
    if memory.total <= gpu.memory_gb:
        return f"{need} and fits on {gpu.title} with {gpu.memory_gb:g} GB."
    large = [other for other in prices().gpus if other.memory_gb >= memory.total]
    if not large:
        return f"{need} and fits on none of the GPUs listed; it needs several."
    smallest = min(large, key=lambda other: other.memory_gb)
    return f"{need} and does not fit on {gpu.title} with {gpu.memory_gb:g} GB; {smallest.title} would do."


def way_rows(shape: Shape, memories: dict[Method, Memory], gpu: GpuPrice, tokens: float) -> list[list[str]]:
    """Rows of (what, full, LoRA, QLoRA) in words."""
    adapter = shape.adapter(RANK)
    trained = {method: shape.parameters if method == "full" else adapter for method in METHODS}
    hours = {method: training_hours(shape, method, tokens, gpu.device) for method in METHODS}
    # Our trainer saves adapters in 32 bits; a whole model is kept in 16.
    files = {method: trained[method] * (2 if method == "full" else 4) for method in METHODS}
    return [
        ["Trained parameters", *(f"{_count(n)} ({n / shape.parameters:.1%})" for n in trained.values())],
        ["GPU memory", *(f"{memory.total:,.1f} GB" for memory in memories.values())],
        [f"Fits {gpu.memory_gb:g} GB", *("yes" if m.total <= gpu.memory_gb else "no" for m in memories.values())],
        ["Time", *(duration(3600 * value) for value in hours.values())],
        ["Bill", *(f"\\${value * gpu.usd_per_hour:,.2f}" for value in hours.values())],
        ["File", *(_size(value) for value in files.values())],
    ]


def memory_figure(memories: dict[Method, Memory], gpu: GpuPrice) -> go.Figure:
    """One bar per method, stacked by part, in GB; the sizes of GPUs as lines, the chosen one's solid."""
    figure = go.Figure()
    bars = [TITLES[method] for method in memories]
    for part, (title, colour) in PARTS.items():
        figure.add_trace(
            go.Bar(
                x=[getattr(memory, part) for memory in memories.values()],
                y=bars,
                name=title,
                orientation="h",
                marker={"color": colour},
                hovertemplate=f"%{{y}}, {title.lower()}: %{{x:,.2f}} GB<extra></extra>",
            )
        )
    most = max(memory.total for memory in memories.values())
    holding = min((other.memory_gb for other in prices().gpus if other.memory_gb >= most), default=most)
    longest = 1.05 * max(holding, gpu.memory_gb)
    for size in gpu_lines(gpu.memory_gb, longest):
        chosen = size == gpu.memory_gb
        figure.add_vline(
            x=size,
            line={"color": "#8A8F98", "width": 3 if chosen else 1.5, "dash": "solid" if chosen else "dot"},
            annotation={"text": f"<b>{size:g}</b>" if chosen else f"{size:g}", "font": {"size": 12}},
            annotation_position="top",
        )
    figure.update_layout(
        barmode="stack",
        title={"text": "GPU memory while training", "font": {"size": 15}},
        font=ink(),
        height=400,
        margin={"l": 8, "r": 12, "t": 70, "b": 8},
        legend={"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0, "traceorder": "normal"},
        dragmode=False,
        uirevision="learn",
    )
    figure.update_xaxes(title="GB; lines are sizes of GPUs", range=[0, longest], fixedrange=True)
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    return figure


def gpu_lines(chosen: float, longest: float) -> list[float]:
    """The sizes of listed GPUs far enough apart to be told apart on an axis of `longest` GB; the chosen one always."""
    lines = [chosen]
    for size in sorted({gpu.memory_gb for gpu in prices().gpus}):
        if size < longest and all(abs(size - line) > longest / 16 for line in lines):
            lines.append(size)
    return sorted(lines)


def _count(number: float) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _evidence() -> None:
    with (
        st.expander("What has been measured and published", icon=":material/science:"),
        st.grid(2, min_column_width=280),
    ):
        for study in texts()["evidence"]:
            with st.container():
                st.markdown(f"**{study['title']}**")
                st.table(
                    pd.DataFrame(study["rows"], columns=study["columns"]),
                    hide_index=True,
                    border="horizontal",
                    alt=f"Figures of {study['source']}",
                )
                st.markdown(study["text"])
                st.caption(f"[{study['source']}](<{study['link']}>)")
