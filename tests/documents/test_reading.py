"""Files become documents with a name, a title and the whole of their text."""

from __future__ import annotations

import os
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents.reading import SourceDocument, document, files, read_document, read_files, read_folder, scan_folder
from core.errors import UserError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "data", "title", "text"),
    [
        ("a.md", "---\ntitle: Ferry rules\ntags: [x]\n---\n\n# Other\nBody", "Ferry rules", "# Other\nBody"),
        ("a.md", "Intro\n\n# The  Heading #\n\nBody", "The Heading", "Intro\n\n# The  Heading #\n\nBody"),
        ("guide/lost-and_found.md", "Body", "lost and found", "Body"),
        ("A.MARKDOWN", "# T\nBody", "T", "# T\nBody"),
        ("notes.txt", "# not a heading", "notes", "# not a heading"),
        ("notes.txt", "---\ntitle: x\n---\nBody", "notes", "---\ntitle: x\n---\nBody"),
        ("a.md", "---\ntitle: 2024\n---\nBody", "2024", "Body"),
        ("a.md", "\ufeff# Größe\r\nBody", "Größe", "# Größe\nBody"),
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
        ("song.mp3", b"ID3", "song.mp3: this kind of file", ".csv, .docx, .epub, .htm, .html, .markdown, .md, .pdf"),
        ("README", b"text", "README: this kind of file", ".md"),
        ("none.md", b"", "none.md: the document is empty", "fill it in"),
        ("wide.md", b"\xff\xfea\x00b", "wide.md: byte 4 is not UTF-16", "Save the file as UTF-8"),
        ("noise.txt", bytes(range(256)) * 4, "noise.txt: its bytes are no text", "UTF-8"),
        ("really.md", b"%PDF-1.7 ...", "really.md: its name promises text, its content looks like a PDF", "ending"),
        ("page.pdf", b"<html>Hello</html>", "page.pdf: its name promises a PDF, its content looks like text", "ending"),
        ("photo.docx", b"\x89PNG\r\n\x1a\n", "content looks like a picture", "ending"),
        (
            "locked.xlsx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "locked.xlsx: it is encrypted, or in the",
            "without a password",
        ),
        ("blank.md", b" \n\t\n", "blank.md: the document is empty", "fill it in"),
        ("head.md", b"---\ntitle: only\n---\n", "head.md: the document is empty", "fill it in"),
        ("nul.txt", b"\x00\x00", "nul.txt: the document is empty", "fill it in"),
    ],
)
def test_unreadable_file_is_named_with_what_to_do(name: str, data: bytes, said: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        read_document(name, data)
    assert said in caught.value.what and remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16", "Größe"),
        ("utf-16-le", "The Größe of it"),
        ("utf-16-be", "The Größe of it"),
        ("utf-8-sig", "Größe"),
        ("latin-1", "Größe"),
        ("latin-1", "café"),
        ("cp1252", "The crew’s café costs 5 €."),
        ("cp1251", "Быстрая коричневая лиса прыгает через ленивую собаку"),
        ("shift_jis", "これは日本語の文章です。読みやすい文字コードで書かれています。"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_common_encodings_are_recognised(encoding: str, text: str, name: str) -> None:
    document = read_document(name, f"{text}\r\nnext".encode(encoding))
    assert document.text == f"{text}\nnext"
    assert ("encoding" in document.meta) == (encoding != "utf-8-sig")


def test_single_damaged_byte_does_not_change_the_encoding_of_the_rest() -> None:
    document = read_document(
        "a.txt", "Größe, Höhe, Länge, Maße und Gewähr der Fährüberfahrt, höchstens".encode() + b"\xff"
    )
    assert document.text.startswith("Größe, Höhe") and document.meta["encoding"] == "utf-8, 1 characters damaged"


def test_front_matter_is_kept_as_plain_values() -> None:
    header = "title: T\ntags: [a, b]\ndate: 2024-05-06\ndraft: false\norder: 3\nnested: {x: [1]}\nbad: .nan\nno:"
    document = read_document("a.md", f"---\n{header}\n---\n\nBody\n".encode())
    assert document.text == "Body"
    assert dict(document.meta) == {
        "title": "T",
        "tags": "a, b",
        "date": "2024-05-06",
        "draft": False,
        "order": 3,
        "bad": "nan",
    }


@pytest.mark.parametrize(
    "header",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "\n".join(f"c{n}: &c{n} [*b, *b]" for n in range(200)),
        "a: " + "[" * 30_000,
        "a: !!python/object/apply:os.system [ls]",
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        f"title: 0x{'f' * 6000}\na: [0x{'f' * 6000}]\n0x{'f' * 6000}: 1",
    ],
)
def test_hostile_front_matter_is_text_or_nothing(header: str) -> None:
    assert "Body" in read_document("a.md", f"---\n{header}\n---\nBody".encode()).text


def test_what_no_database_stores_is_taken_out() -> None:
    found = read_document("a.md", b'---\ntitle: "a\\ud800\\0b"\ntags: ["\\ud800"]\n---\nBody')
    assert (found.title, found.meta["tags"]) == ("a? b", "?")


def test_name_that_would_drive_a_terminal_is_refused_and_any_other_is_kept(tmp_path: Path) -> None:
    hostile = (b"new\nline.md", b"red\x1b[31m.md", b"bad\xff.md", "turned\u202edm.exe.md".encode())
    kept = ("報告\u3000書.md", "Screenshot 3.00\u202fPM.txt", "[x](javascript:y) **b** <i>.md")
    for name in (*hostile, *(name.encode() for name in kept)):
        (tmp_path / os.fsdecode(name)).write_text("text")
    found = scan_folder(tmp_path)
    assert sorted(one.name for one in found.documents) == sorted(kept)
    assert sorted(one.name for one in found.refused) == ["bad?.md", "new?line.md", "red?[31m.md", "turned?dm.exe.md"]
    assert {str(one).partition(": ")[2] for one in found.refused} == {
        "its name holds control characters. Rename the file."
    }


@pytest.mark.parametrize("text", ["GIF89a and PNG compared", "ID3 tags", "RIFF is a container", "See `%PDF-1.7` there"])
def test_text_that_begins_like_something_else_is_text(text: str) -> None:
    assert read_document("a.md", text.encode()).text == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a;b\nHello, world, and all;2\n", "a: Hello, world, and all\nb: 2"),
        ("a\tb\nx, y\tz\n", "a: x, y\nb: z"),
        ('a,b\n"x;y;z",1\n', "a: x;y;z\nb: 1"),
        ("a\nx y\n", "a: x y"),
    ],
)
def test_delimiter_is_the_one_that_rows_agree_on(text: str, shown: str) -> None:
    assert read_document("a.csv", text.encode()).text == shown


def test_hostile_table_takes_neither_minutes_nor_memory() -> None:
    began = time.process_time()
    read_document("wide.csv", b",".join([b"c"] * 100_000) + b"\n" + b"1\n" * 100_000)
    for quotes in (b"a,b\n" + b"\"'," * 7000, b"a,b\n" + b"'" + b'"' * 19_000 + b",1\n"):
        with suppress(UserError):
            read_document("quotes.csv", quotes)
    with pytest.raises(UserError, match="million characters are too many"):
        read_document("long.csv", b"x" * 100_000 + b"\n" + b"1\n" * 200_000)
    assert time.process_time() - began < 2


def test_title_is_not_taken_from_code() -> None:
    assert read_document("the-tool.md", b"```sh\n# install it\n```\n\nBody").title == "the tool"
    assert read_document("a.md", b"Ferry *rules*\n=====\n\nBody").title == "Ferry rules"


def test_csv_rows_become_paragraphs_that_name_their_columns() -> None:
    data = 'port;hour;# of cars\nPellin;7;"12"\n\nOuter;;"a ""b""\n\n c"\nx;1;2;3\n'.encode("utf-16")
    document = read_document("times.csv", data)
    assert document.text == (
        'port: Pellin\nhour: 7\n# of cars: 12\n\nport: Outer\n# of cars: a "b"\nc\n\n'
        "port: x\nhour: 1\n# of cars: 2\ncolumn 4: 3"
    )
    with pytest.raises(UserError, match=r"big\.csv: line 2: field larger than field limit"):
        read_document("big.csv", b"a,b\n" + b"x" * 11_000_000 + b",y\n")
    with pytest.raises(UserError, match=r"head\.csv: the document is empty"):
        read_document("head.csv", b"a,b\n")


def test_file_beyond_the_limits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="more than one document may have"):
        read_document("dump.txt", b"x" * 101)
    monkeypatch.setattr(document, "MAX_CHARACTERS", 50)
    with pytest.raises(UserError, match=r"dump\.txt: more than 0 million characters are too many"):
        read_document("dump.txt", b"x" * 51)
    monkeypatch.setattr(files, "MAX_CHARACTERS_IN_ALL", 60)
    found = read_files((f"{n}.txt", b"x" * 40) for n in range(3))
    assert [one.name for one in found.documents] == ["0.txt", "1.txt"]
    assert found.refused[0].what == "2.txt: the files before it fill the memory."


def test_bad_files_are_listed_and_the_others_read() -> None:
    given = [
        ("a.md", b"fine"),
        ("b.pdf", b""),
        ("c.txt", b"\x00\x01\xff"),
        ("d.exe", b"MZ"),
        ("a.md", b"again"),
        ("e.txt", b"e"),
    ]
    seen: list[tuple[int, str]] = []
    found = read_files(given, lambda done, name: seen.append((done, name)))
    assert [document.name for document in found.documents] == ["a.md", "e.txt"]
    assert [refused.name for refused in found.refused] == ["b.pdf", "c.txt", "d.exe", "a.md"]
    assert "another file of this name" in found.refused[3].what
    assert seen == [(number, name) for number, (name, _) in enumerate(given)]
    with pytest.raises(UserError, match=r"(?s)4 of the documents.*b\.pdf.*c\.txt.*d\.exe"):
        found.complete()


def test_folder_is_read_below_too_in_order_of_names(tmp_path: Path) -> None:
    names = ("z.md", "deep/er/a.txt", "b.markdown", "picture.png", ".git/readme.md", "__MACOSX/b.md")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    with zipfile.ZipFile(tmp_path / "deep" / "in.zip", "w") as archive:
        for name in ("er/b.txt", "er/a.txt", "../up.md"):
            archive.writestr(name, "packed")
    found = scan_folder(tmp_path)
    assert [d.name for d in found.documents] == ["b.markdown", "deep/er/a.txt", "deep/er/b.txt", "z.md"]
    assert found.documents[1].text == "text"
    assert [str(refused) for refused in found.refused] == [
        "deep/in.zip, ../up.md: its name leads out of the archive. Leave it out, or add that file by itself.",
        "deep/er/a.txt: there is another file of this name. Rename one of them.",
    ]
    assert sorted(found.skipped) == [".git/readme.md", "__MACOSX/b.md", "picture.png"]
    (tmp_path / "deep" / "in.zip").unlink()
    assert [d.name for d in read_folder(tmp_path)] == ["b.markdown", "deep/er/a.txt", "z.md"]
    (tmp_path / "bad.md").write_bytes(b"")
    assert len(scan_folder(tmp_path).documents) == 3
    with pytest.raises(UserError, match=r"(?s)1 of the documents.*bad\.md"):
        read_folder(tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("text")
    (folder / "b.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "same.md").symlink_to(folder / "a.md")
    found = scan_folder(folder)
    assert [d.name for d in found.documents] == ["a.md", "same.md"] and found.skipped == ["b.txt"]


def test_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.csv.*Add documents"):
        read_folder(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_folder(tmp_path / "missing")


@pytest.mark.parametrize(("folder", "count"), [("streamlit-docs", 402), ("petworld-help-center", 10)])
def test_real_collections_are_read(folder: str, count: int) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not beside the repository")
    found = scan_folder(DATA / folder)
    assert len(found.documents) >= count
    assert all("the document is empty" in refused.what for refused in found.refused) and len(found.refused) < 5
    if folder == "streamlit-docs":
        one = next(d for d in found.documents if d.name == "content/deploy/tutorials/docker.md")
        assert one.title == "Deploy Streamlit using Docker" and one.meta["slug"] == "/deploy/tutorials/docker"


def test_hash_tells_content_not_name() -> None:
    same = {read_document(name, b"# T\nBody").hash for name in ("a.md", "b.md")}
    assert len(same | {read_document("a.md", b"# T\nBody.").hash}) == 2
    plain = SourceDocument("a.md", "T", "Body")
    assert len({plain.hash, replace(plain, pages=(0,)).hash, replace(plain, meta={"order": 1}).hash}) == 3
