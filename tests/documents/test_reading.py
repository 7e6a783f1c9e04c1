"""Files become documents with a name, a title and the whole of their text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents import reading
from core.documents.reading import read_document, read_documents, read_folder
from core.errors import UserError


@pytest.mark.parametrize(
    ("name", "data", "title", "text"),
    [
        ("a.md", "---\ntitle: Ferry rules\ntags: [x]\n---\n\n# Other\nBody", "Ferry rules", "# Other\nBody"),
        ("a.md", "Intro\n\n# The  Heading #\n\nBody", "The  Heading", "Intro\n\n# The  Heading #\n\nBody"),
        ("guide/lost-and_found.md", "Body", "lost and found", "Body"),
        ("A.MARKDOWN", "# T\nBody", "T", "# T\nBody"),
        ("notes.txt", "# not a heading", "notes", "# not a heading"),
        ("notes.txt", "---\ntitle: x\n---\nBody", "notes", "---\ntitle: x\n---\nBody"),
        ("a.md", "---\ntitle: 2024\n---\nBody", "2024", "Body"),
        ("a.md", "\ufeff# Größe\r\nBody", "Größe", "# Größe\r\nBody"),
    ],
)
def test_title_comes_from_header_then_heading_then_name(name: str, data: str, title: str, text: str) -> None:
    document = read_document(name, data.encode())
    assert (document.name, document.title, document.text) == (name, title, text)


@pytest.mark.parametrize(
    "text",
    [
        "---\nA line between rules.\n---\nBody",
        "---\n- a list\n---\nBody",
        "---\ndate: 2026-13-45\n---\nBody",
        "---\n{[}: 3\n---\nBody",
        "---\nnever closed",
        "{\nnot: json\n}\nBody",
        '{\n"title": "code"\n}\nBody',
        "+++\na = = b\n+++\nBody",
    ],
)
def test_what_only_looks_like_a_header_is_text(text: str) -> None:
    assert read_document("a.md", text.encode()).text == text


@given(st.text(max_size=60), st.sampled_from(["---\n", "+++\n", "{\n", ""]), st.sampled_from(["a.md", "a.txt"]))
def test_no_text_makes_the_reader_fall_over(text: str, opening: str, name: str) -> None:
    data = f"{opening}{text}\n{opening}end".encode()
    assert "end" in read_document(name, data).text


@pytest.mark.parametrize(
    ("name", "data", "said", "remedy"),
    [
        ("report.pdf", b"%PDF-1.7", "report.pdf: this kind of file", ".md, .markdown, .txt"),
        ("README", b"text", "README: this kind of file", ".md"),
        ("old.txt", "Größe".encode("latin-1"), "old.txt: byte 2 is not UTF-8", "Save the file as UTF-8"),
        ("wide.md", "text".encode("utf-16"), "wide.md: byte 0 is not UTF-8", "Save the file as UTF-8"),
        ("blank.md", b" \n\t\n", "blank.md: the document is empty", "fill it in"),
        ("head.md", b"---\ntitle: only\n---\n", "head.md: the document is empty", "fill it in"),
        ("nul.txt", b"\x00\x00", "nul.txt: the document is empty", "fill it in"),
    ],
)
def test_unreadable_file_is_named_with_what_to_do(name: str, data: bytes, said: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        read_document(name, data)
    assert said in caught.value.what and remedy in caught.value.remedy


def test_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="more than one document may have"):
        read_document("dump.txt", b"x" * 101)


def test_all_documents_are_read_or_none_and_every_bad_one_is_listed() -> None:
    files = [("a.md", b"fine"), ("b.pdf", b""), ("c.txt", b"\xff"), ("d.md", b"")]
    with pytest.raises(UserError, match=r"(?s)3 of the documents.*b\.pdf.*c\.txt.*d\.md"):
        read_documents(files)


def test_folder_is_read_below_too_in_order_of_names(tmp_path: Path) -> None:
    for name in ("z.md", "deep/er/a.txt", "b.markdown", "picture.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    assert [d.name for d in read_folder(tmp_path)] == ["b.markdown", "deep/er/a.txt", "z.md"]


def test_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.md.*Add documents"):
        read_folder(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_folder(tmp_path / "missing")


def test_hash_tells_content_not_name() -> None:
    same = {read_document(name, b"# T\nBody").hash for name in ("a.md", "b.md")}
    assert len(same | {read_document("a.md", b"# T\nBody.").hash}) == 2
