"""Documents from an upload or a folder of this machine, read with progress; what cannot be read is listed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import streamlit as st

from core.documents.reading import ARCHIVE, SUFFIXES, ReadFiles, Refused, read_files, scan_folder
from core.documents.reading.files import Progress
from pages.widgets.errors import guard, plain
from pages.widgets.sources import inbox
from pages.widgets.tables import csv_button, table
from pages.widgets.words import many

FILES, FOLDER, MACHINE = "Files", "A folder", "A folder on this machine"
# Folders offered; who has more gives the one above them.
MOST_FOLDERS = 200
# Documents named one by one before they are only counted.
NAMED = 200


def read_documents(key: str) -> ReadFiles:
    """What became of the files that a person has given here; empty until there are any.

    Another `key` is another, empty form.
    """
    way = st.segmented_control(
        "Where are the documents?", [FILES, FOLDER, MACHINE], default=FILES, required=True, key=f"{key}_way"
    )
    found = _from_machine(key) if way == MACHINE else _uploaded(key, way == FOLDER)
    if found is None:
        return ReadFiles()
    _say(found, key)
    return found


def _uploaded(key: str, folder: bool) -> ReadFiles | None:
    files = st.file_uploader(
        "Documents" if not folder else "A folder of documents",
        type=[suffix.removeprefix(".") for suffix in (*SUFFIXES, ARCHIVE)],
        accept_multiple_files="directory" if folder else True,
        key=f"{key}_{'folder' if folder else 'files'}",
        help="Markdown, text, HTML, PDF, Word, PowerPoint, Excel, CSV and EPUB, or zip archives of them. "
        f"A file may have up to {st.get_option('server.maxUploadSize')} MB.",
    )
    if not files:
        return None
    given = {file.file_id: file for file in files}
    # The browser gives a folder's files with their paths in it.
    named = [(PurePosixPath(file.name.replace("\\", "/")).as_posix(), file) for file in given.values()]
    pairs = ((name if folder else PurePosixPath(name).name, file.getvalue()) for name, file in named)
    return _once(key, tuple(given), len(given), lambda progress: read_files(pairs, progress))


def _from_machine(key: str) -> ReadFiles | None:
    root = inbox()
    st.markdown("Put the folder into this one, then choose it here. Nothing else on this machine can be read:")
    st.code(str(root), language=None, wrap_lines=True)
    folders = _folders(root)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Folder", folders, key=f"{key}_inbox", width=420)
        asked = st.button("Read the folder", icon=":material/folder_open:", key=f"{key}_scan")
    token = (chosen, st.session_state.get(f"{key}_scans", 0) + asked)
    if asked:
        st.session_state[f"{key}_scans"] = token[1]
    elif st.session_state.get(f"{key}_read", ((),))[0] != token:
        return None
    folder = (root / str(chosen)).resolve()
    if not folder.is_relative_to(root.resolve()):
        st.error("Choose a folder below the one named here.", title="This folder lies elsewhere")
        return None
    count = sum(len(names) for _, _, names in os.walk(folder))
    return _once(key, token, count, lambda progress: scan_folder(folder, progress))


def _folders(root: Path) -> list[str]:
    """Paths of the folders below `root`, itself first as "."; links are not followed."""
    found = ["."]
    for path, inside, _ in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += [(Path(path) / name).relative_to(root).as_posix() for name in inside]
        if len(found) > MOST_FOLDERS:
            break
    return found[:MOST_FOLDERS]


def _once(key: str, token: tuple[object, ...], total: int, read: Callable[[Progress], ReadFiles]) -> ReadFiles | None:
    """What these files gave, read once for this session however often the page is drawn."""
    kept = f"{key}_read"
    if st.session_state.get(kept, ((),))[0] != token:
        place = st.empty()

        def tell(done: int, name: str) -> None:
            # An archive stands for many files, so the number of uploads is only the least there can be.
            share = done / total if total > done else 0.0
            place.progress(share, text=plain(f"{many(done, 'file')} read, now {name}", 120))

        with guard(), st.spinner("Reading the documents"):
            st.session_state[kept] = (token, read(tell))
        place.empty()
    found: tuple[object, ReadFiles] | None = st.session_state.get(kept)
    return found[1] if found and found[0] == token else None


def _say(found: ReadFiles, key: str) -> None:
    kinds = Counter(PurePosixPath(document.name).suffix.removeprefix(".").lower() for document in found.documents)
    listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    warned = [
        Refused(document.name, str(document.meta["warning"]), "")
        for document in found.documents
        if document.meta.get("warning")
    ]
    if found.documents:
        st.success(plain(listed), title=f"{many(len(found.documents), 'document')} read", icon=":material/check:")
    elif not found.refused:
        st.warning("Give files of a kind that is read.", title="There is no document among these")
    if found.refused:
        st.error(
            "The others can be used without them." if found.documents else "Mend them, or give others.",
            title=f"{many(len(found.refused), 'file')} cannot be read",
            icon=":material/error:",
        )
        rows = [{"file": r.name, "what is wrong": r.what, "what to do": r.remedy} for r in found.refused]
        table(
            rows, "Files that cannot be read, why, and what to do", row_height=35, height=min(38 + 35 * len(rows), 300)
        )
        csv_button(rows, "refused.csv", "Download this list (CSV)", f"{key}_refused_csv")
    if warned:
        st.warning("They can be used as they are.", title=f"{many(len(warned), 'document')} read in part")
        table([{"file": w.name, "what is missing": w.what} for w in warned], "Documents that were read in part")
    if found.skipped:
        with st.expander(f"{many(len(found.skipped), 'file')} left aside", icon=":material/visibility_off:"):
            st.caption("Hidden files, and kinds that hold no documents.")
            table([{"file": name} for name in found.skipped[:NAMED]], "Files that were left aside")
