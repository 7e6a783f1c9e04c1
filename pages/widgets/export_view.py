"""Taking a data set away, in the layouts that other programs read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import streamlit as st

from core.data.dataset import SPLITS, stream_examples
from core.data.example import Example
from core.data.exporting import BATCH, Format, export
from core.settings import get_settings
from core.store.tables import Dataset
from pages.widgets.errors import plain
from pages.widgets.words import many

LAYOUTS: dict[Format, tuple[str, str, str, str]] = {
    "chat": ("OpenAI chat", "jsonl", "application/jsonl", "One conversation a line; what fine-tuning services take."),
    "prompt_completion": ("Prompt and completion", "jsonl", "application/jsonl", "Two texts a line; what TRL reads."),
    "csv": ("CSV", "csv", "text/csv", "For spreadsheets; no cell runs as a formula."),
}
# A download is held in memory whole; what is larger is written to a file on this machine instead.
DOWNLOADED = 100_000


def export_view(dataset: Dataset) -> None:
    counts = dataset.notes["counts"]
    left, right = st.columns([3, 2])
    layout: Format = left.radio(
        "Layout",
        list(LAYOUTS),
        format_func=lambda name: LAYOUTS[name][0],
        captions=[what for *_, what in LAYOUTS.values()],
        key="export_layout",
    )
    parts = right.pills(
        "Parts",
        SPLITS,
        default=SPLITS,
        selection_mode="multi",
        format_func=lambda split: f"{split.capitalize()} ({counts[split]:,})",
        key="export_parts",
        help="Removed examples are never exported.",
    )
    extras = layout != "csv" and right.toggle(
        "With label, group and context",
        key="export_extras",
        help="Lowest Rung reads them again; OpenAI refuses lines with keys it does not know. The CSV always has them.",
    )
    chosen = [split for split in SPLITS if split in parts]
    total = sum(counts[split] for split in chosen)
    if not total:
        st.caption("Choose a part that holds examples.")
        return
    title, suffix, mime, _ = LAYOUTS[layout]
    name = file_name(dataset.name, chosen, suffix)
    if total <= DOWNLOADED:
        st.download_button(
            f"Download {many(total, 'example')} as {title}",
            lambda: b"".join(export(_examples(dataset.id, chosen), layout, extras=extras)),
            name,
            mime,
            key="export_download",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
        )
        return
    st.markdown(f"{many(total, 'example')} are too many for a download; they are written to a file on this machine.")
    if st.button("Write the file", type="primary", icon=":material/save:", key="export_write"):
        folder = get_settings().home / "exports"
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / name).open("wb") as file:
            _write(file, export(_examples(dataset.id, chosen), layout, extras=extras), total)
        st.success(plain(str(folder / name)), title="Written")


def file_name(name: str, parts: list[str], suffix: str) -> str:
    """A name that every system takes, whatever the data set is called."""
    stem = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-").lower()[:60] or "examples"
    return f"{stem}-{'-'.join(parts)}.{suffix}" if len(parts) < len(SPLITS) else f"{stem}.{suffix}"


def _examples(dataset_id: int, parts: list[str]) -> Iterator[Example]:
    return (example for split in parts for _, example in stream_examples(dataset_id, split))


def _write(file: IO[bytes], pieces: Iterable[bytes], total: int) -> None:
    """Write in the open, so that a click elsewhere ends it; what was written then goes."""
    bar = st.progress(0.0, text="Writing")
    try:
        for number, piece in enumerate(pieces, start=1):
            file.write(piece)
            bar.progress(min(1.0, number * BATCH / total), text=f"Writing: {min(total, number * BATCH):,} of {total:,}")
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise
    bar.empty()
