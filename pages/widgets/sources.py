"""Where examples come from: an upload, or a file that already lies on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import streamlit as st

from core.data.files import File
from core.settings import get_settings

TYPES = ["jsonl", "json", "txt", "csv", "tsv", "parquet", "xlsx", "gz"]
UPLOAD, MACHINE = "Upload", "A file on this machine"


@dataclass(frozen=True)
class Source:
    """A file that was chosen; `key` is another one whenever the content may be."""

    file: File
    key: str


def size_in_words(size: int) -> str:
    """Bytes as "12 bytes", "3.4 kB", "200 MB"."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def choose_sources() -> tuple[Source | None, Source | None]:
    """(training file, test file) as far as they have been chosen."""
    way = st.segmented_control(
        "Where are the examples?", [UPLOAD, MACHINE], default=UPLOAD, required=True, key="import_way"
    )
    return _on_machine() if way == MACHINE else _uploaded()


def _uploaded() -> tuple[Source | None, Source | None]:
    # Another key is another, empty uploader: after each import the form starts anew.
    number = st.session_state.get("imports", 0)
    with st.grid(2, min_column_width=280):
        train = st.file_uploader(
            "Examples",
            type=TYPES,
            key=f"train_file_{number}",
            help="JSON lines, JSON, CSV, TSV, Parquet or Excel, plain or packed with gzip. What it is, is recognised.",
        )
        test = st.file_uploader(
            "Test examples, optional",
            type=TYPES,
            key=f"test_file_{number}",
            help="Only if you have a test set of your own. Without one, some examples are held back for testing.",
        )
    return tuple(  # type: ignore[return-value]
        None if file is None else Source(File(PurePosixPath(file.name).name, file.getvalue()), file.file_id)
        for file in (train, test)
    )


def inbox() -> Path:
    """The folder whose files can be chosen on the page; made if need be."""
    folder = get_settings().home / "inbox"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _on_machine() -> tuple[Source | None, Source | None]:
    folder = inbox()
    limit = st.get_option("server.maxUploadSize")
    st.markdown(f"An upload may have up to {limit} MB. Put a larger file into this folder, then choose it here:")
    st.code(str(folder), language=None, wrap_lines=True)
    found = {
        path.name: path
        for path in sorted(folder.iterdir())
        # A link could lead anywhere; only what really lies here is offered.
        if path.is_file() and not path.is_symlink() and path.suffix.lstrip(".").lower() in TYPES
    }
    if not found:
        st.info(
            "Copy a file into the folder, then look again. It may end in " + ", ".join(f".{kind}" for kind in TYPES),
            title="The folder holds no such file yet",
        )
        st.button("Look again", icon=":material/refresh:", key="inbox_again")
        return None, None

    def label(name: str) -> str:
        return f"{name} ({size_in_words(found[name].stat().st_size)})" if name in found else name

    with st.grid(2, min_column_width=280):
        train = st.selectbox("Examples", list(found), None, format_func=label, key="train_inbox", placeholder="Choose")
        test = st.selectbox(
            "Test examples, optional",
            [name for name in found if name != train],
            None,
            format_func=label,
            key="test_inbox",
            placeholder="None: hold some back",
        )
    return tuple(None if name is None else _source(found[name]) for name in (train, test))  # type: ignore[return-value]


def _source(path: Path) -> Source:
    now = path.stat()
    content = hashlib.blake2b(f"{path} {now.st_size} {now.st_mtime_ns}".encode(), digest_size=8)
    return Source(File(path.name, path=path), content.hexdigest())
