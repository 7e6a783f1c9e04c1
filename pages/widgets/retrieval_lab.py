"""The retrieval lab on screen: questions in, settings to try, the job, and what came of it."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import streamlit as st

from core.data.dataset import datasets
from core.data.files import File
from core.evaluate.lab.relevance import FORMAT
from core.evaluate.lab_job import BASE_S, SIZE_S, submit_lab
from core.export import safe_csv
from core.jobs import queue
from core.store.lists import IndexSummary
from core.store.tables import Index, Job
from pages.widgets.cutting_form import longest_chunk
from pages.widgets.errors import guard
from pages.widgets.lab_result import lab_result
from pages.widgets.progress import controls, live, progress_bar, trouble
from pages.widgets.words import ago, duration

SIZES = (64, 96, 128, 192, 237, 320, 512)
FROM_DATASET, FROM_FILE = "A data set", "A file"
SPLITS = ("train", "validation", "test")
TEMPLATE = [
    {"question": "When does the ramp open?", "document": "opening-hours.md", "text": "opens at six", "group": ""},
    {"question": "Which form is for refunds?", "document": "refunds.pdf|forms.md", "text": "", "group": ""},
]


def retrieval_lab(summary: IndexSummary) -> None:
    index = summary.index
    st.markdown(
        "Which way of searching finds the right passage most often, on your own questions, and by how much?",
        help="Every setting is asked the same questions. Recall@5 is the share of what should be found that is among "
        "the first five passages; MRR tells how far up the first right one is; nDCG@10 looks at the order of ten.",
    )
    jobs = _jobs(index.id)
    if jobs and jobs[0].status != "done":
        live(_running, lambda: _jobs(index.id)[:1])
    done = [job for job in jobs if job.status == "done" and job.result.get("measured")]
    fold = st.expander("Measure", icon=":material/science:", expanded=not jobs, key=f"lab_{index.id}_{len(jobs)}")
    with fold, guard():
        _form(summary)
    if not done:
        return
    shown = done[0]
    if len(done) > 1:
        number = st.selectbox(
            "Measurement",
            range(len(done)),
            format_func=lambda i: f"Job {done[i].id}, {ago(done[i].finished_at)}",
            key=f"lab_shown_{index.id}",
        )
        shown = done[number]
    lab_result(index, shown)


def _jobs(index_id: int) -> list[Job]:
    """Newest first."""
    return [job for job in queue.jobs("lab") if job.spec.get("index_id") == index_id]


def _running(jobs: list[Job]) -> None:
    for job in jobs:
        with st.container(border=True):
            progress_bar(job, "Measuring")
            trouble(job)
            if job.status != "done":
                controls(job, "lab")


def _form(summary: IndexSummary) -> None:
    index = summary.index
    if not summary.ready:
        st.info("The lab needs all documents embedded. Finish building first.", title="Not yet")
        return
    listed = {d.id: d.name for d in datasets()}
    way = st.segmented_control(
        "Questions from",
        [FROM_DATASET, FROM_FILE],
        default=FROM_DATASET if listed else FROM_FILE,
        required=True,
        key="lab_way",
    )
    given = _from_dataset(listed) if way == FROM_DATASET else _from_file()
    sizes, reranker = _settings(index)
    st.caption(
        f"Tried: by meaning, by words and both, at several shares"
        f"{', for each chunk size' if sizes else ''}. Roughly {duration(BASE_S + SIZE_S * len(sizes))} on two cores."
    )
    moving = any(job.status in queue.ACTIVE for job in _jobs(index.id))
    if st.button("Measure", type="primary", icon=":material/science:", key="run_lab", disabled=given is None or moving):
        submit_lab(index.id, **(given or {}), sizes=sizes, reranker=reranker)
        st.rerun()


def _from_dataset(listed: dict[int, str]) -> dict[str, Any] | None:
    if not listed:
        st.info("Import examples first, or give a file of questions.", title="No data set yet")
        return None
    with st.grid(2, min_column_width=240):
        dataset = st.selectbox(
            "Data set",
            list(listed),
            format_func=lambda i: f"{listed[i]} (number {i})",
            key="lab_dataset",
            help="Relevant is where an example's reference answer stands in the documents; examples whose answer is in "
            "none of them, or in many, are left out and counted.",
        )
        splits = st.multiselect(
            "Parts",
            SPLITS,
            SPLITS[:2],
            key="lab_splits",
            help="Leave the test part out: settings that were chosen on it would flatter retrieval in a comparison.",
        )
    return {"dataset_id": dataset, "splits": splits} if splits else None


def _from_file() -> dict[str, Any] | None:
    file = st.file_uploader(
        "Questions", type=["jsonl", "json", "csv", "tsv", "xlsx"], key="lab_file", help=FORMAT + " At most 1,000."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Start from a template:")
        for name, content, kind in (
            ("questions.csv", safe_csv(TEMPLATE), "text/csv"),
            ("questions.jsonl", "\n".join(json.dumps(row) for row in TEMPLATE), "application/jsonl"),
        ):
            st.download_button(
                name.rpartition(".")[2].upper(),
                content,
                name,
                kind,
                icon=":material/download:",
                on_click="ignore",
                key=f"template_{name}",
            )
    return None if file is None else {"file": File(PurePosixPath(file.name).name, file.getvalue())}


def _settings(index: Index) -> tuple[list[int], str]:
    most = longest_chunk(index.embedder)
    sizes = [size for size in SIZES if size <= most and size != index.chunk_tokens]
    with st.grid(2, min_column_width=240, vertical_alignment="bottom"):
        chosen = st.pills(
            "Other chunk sizes to try, tokens",
            sizes,
            selection_mode="multi",
            key=f"lab_sizes_{index.id}",
            help=f"Beside the {index.chunk_tokens} of now. Each embeds the documents anew for the measurement, about a "
            "minute or two; of large collections a sample.",
        )
        reranker = st.text_input(
            "Reranker to try, optional",
            index.reranker,
            key=f"lab_reranker_{index.id}",
            placeholder="Hugging Face id or local folder",
            help="A cross-encoder. None is bundled; without one nothing is reranked.",
        )
    return sorted(chosen), (reranker or "").strip()
