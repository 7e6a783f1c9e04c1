"""Every kind of file that a complicated parser reads, in the process that such parsers run in."""

from __future__ import annotations

import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.documents.reading import READERS, read_document, read_files
from core.documents.reading.document import Reader
from core.documents.reading.parser import Parser
from core.errors import UserError

pytestmark = pytest.mark.integration

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REPORTS = DATA / "ntsb-aviation-pdf"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def zipped(files: dict[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def docx(body: str, head: str = "", more: dict[str, str | bytes] | None = None) -> bytes:
    rels = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="rels" ContentType="application/vnd.'
            f'openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="{main}"/>'
            "</Types>",
            "_rels/.rels": f'<Relationships xmlns="{rels}"><Relationship Id="r1" Type="{office}" '
            'Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'<?xml version="1.0"?>{head}<w:document {W}><w:body>{body}</w:body></w:document>',
        }
        | (more or {})
    )


def paragraph(text: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}<w:r><w:t>{text}</w:t></w:r></w:p>"


def xlsx(sheets: dict[str, list[list[Any]]]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def picture_pdf(pages: int) -> bytes:
    """As a scanner makes it: every page one picture."""
    from PIL import Image

    saved = io.BytesIO()
    sheets = [Image.effect_noise((300, 400), 40 + page) for page in range(pages)]
    sheets[0].save(saved, "PDF", save_all=True, append_images=sheets[1:])
    return saved.getvalue()


def test_word_document_keeps_headings_and_tables() -> None:
    style = '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>'
    styles = f"<w:styles {W}>{style}</w:styles>"
    row = "<w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr>"
    rows = [row.format(paragraph(a), paragraph(b)) for a, b in (("port", "hour"), ("Pellin", "7"))]
    table = f"<w:tbl>{''.join(rows)}</w:tbl>"
    document = read_document(
        "rules.docx",
        docx(
            paragraph("Ferry rules", "Heading1") + paragraph("Dogs travel free &lt;b&gt;.") + table,
            more={
                "word/styles.xml": styles,
                "word/_rels/document.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
                'relationships"><Relationship Id="s" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
                'relationships/styles" Target="styles.xml"/></Relationships>',
            },
        ),
    )
    assert document.title == "Ferry rules" and document.text.startswith("# Ferry rules\n\nDogs travel free")
    assert "| Pellin | 7 |" in document.text


def test_slides_are_pages() -> None:
    from pptx import Presentation

    show = Presentation()
    for title, text in (("Tides", "Four metres"), ("Dogs", "On a lead"), ("", "Last words")):
        slide = show.slides.add_slide(show.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    show.slides[1].notes_slide.notes_text_frame.text = "Ask the captain."
    saved = io.BytesIO()
    show.save(saved)
    document = read_document("show.pptx", saved.getvalue())
    assert document.title == "Tides" and len(document.pages) == 3
    parts = [document.text[a:b] for a, b in zip(document.pages, [*document.pages[1:], None], strict=True)]
    assert parts[0] == "# Tides\nFour metres\n\n"
    assert "Ask the captain." in parts[1] and parts[2] == "Last words"


def test_sheets_are_sections_and_rows_name_their_columns() -> None:
    import datetime

    rows = [
        ["# of cars", "price", "day"],
        [12, 3.5, datetime.datetime(2024, 5, 6)],
        [None, None, None],
        [1.0, None, "x"],
    ]
    document = read_document("times.xlsx", xlsx({"Summer  time": rows, "Empty": [], "Winter": [["a"], ["b\n# c"]]}))
    assert document.text == (
        "## Summer time\n\n\\# of cars: 12\nprice: 3.5\nday: 2024-05-06\n\n\\# of cars: 1\nday: x\n\n"
        "## Winter\n\na: b # c"
    )


def test_web_page_is_its_words_without_scripts_navigation_and_forms() -> None:
    page = """<!doctype html><html><head><meta charset="iso-8859-1"><title>Ferry &amp; co</title>
    <style>p {color: red}</style><meta name="description" content="Rules"><script>steal()</script></head>
    <body><nav><a href="/">Start</a></nav><main><h1>Größe</h1><p id="x">Dogs <b>free</b>.<script>alert(1)</script>
    <img src="http://127.0.0.1:9/x.png" alt="A dog"><a href="javascript:x()">go</a></p>
    <iframe src="http://127.0.0.1:9/"></iframe><button>Buy</button></main><footer>Imprint</footer></body></html>"""
    document = read_document("ferry.html", page.encode("latin-1"))
    assert (document.title, document.meta["description"]) == ("Größe", "Rules")
    for kept in ("# Größe", "Dogs **free**.", "A dog", "go"):
        assert kept in document.text
    for lost in ("alert", "steal", "color", "Start", "Buy", "Imprint", "http", "javascript", "<"):
        assert lost not in document.text
    assert "deep" in read_document("deep.html", b"<div>" * 20_000 + b"deep" + b"</div>" * 20_000).text


def test_book_is_read_in_its_order() -> None:
    chapters = {
        f"OEBPS/{n}.xhtml": f"<html><head><title>x</title></head><body><h1>{n}</h1><p>Text {n}</p></body></html>"
        for n in "ab"
    }
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>The Book</dc:title><dc:creator>A. Uthor</dc:creator><dc:language>en</dc:language></metadata>"
        "<manifest>"
        '<item id="a" href="a.xhtml"/><item id="b" href="b.xhtml"/></manifest>'
        '<spine><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="OEBPS/c.opf"/></rootfiles></container>'
    data = zipped(
        {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OEBPS/c.opf": opf, **chapters}
    )
    document = read_document("book.epub", data)
    assert document.text == "# b\n\nText b\n\n# a\n\nText a"
    assert document.title == "The Book" and document.meta == {"authors": "A. Uthor", "language": "en"}


def test_pdf_keeps_its_pages() -> None:
    if not REPORTS.is_dir():
        pytest.skip("the accident reports are not beside the repository")
    files = [(path.name, path.read_bytes()) for path in sorted(REPORTS.glob("*.pdf"))]
    found = read_files(files)
    assert len(found.documents) == 20 and not found.refused
    document = found.documents[0]
    assert len(document.pages) == 4
    for number, start in enumerate(document.pages, start=1):
        assert document.text[start:].startswith(f"Page {number} of 4")
    assert "attempting to land a Piper PA-22-150 at his private airstrip" in document.text
    assert not any(mark in d.text for d in found.documents for mark in "\r\x00\x02\ufffe")


def test_scanned_pdf_is_recognised_and_a_partly_scanned_one_is_read_with_a_warning() -> None:
    with pytest.raises(
        UserError, match=r"letter\.pdf: it is scanned: its 3 pages are pictures.*text recognition \(OCR\)"
    ):
        read_document("letter.pdf", picture_pdf(3))
    if not REPORTS.is_dir():
        pytest.skip("the accident reports are not beside the repository")
    import pypdfium2

    whole = pypdfium2.PdfDocument(sorted(REPORTS.glob("*.pdf"))[0])
    whole.import_pages(pypdfium2.PdfDocument(picture_pdf(2)), index=1)
    saved = io.BytesIO()
    whole.save(saved)
    document = read_document("mixed.pdf", saved.getvalue())
    assert len(document.pages) == 6 and document.text[document.pages[3] :].startswith("Page 2 of 4")
    assert str(document.meta["warning"]).startswith("2 of 6 pages are scanned (2, 3)")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("broken.pdf", b"%PDF-1.7\nnothing more", "broken.pdf: it is damaged: its pages cannot be found"),
        ("cut.docx", docx(paragraph("x"))[:-80], r"cut\.docx: .*(damaged|zip archive)"),
        ("other.docx", xlsx({"a": [["b"], ["c"]]}), "promises a Word document.*looks like an Excel workbook"),
        ("renamed.pptx", zipped({"a.txt": "x"}), r"promises a PowerPoint presentation.*looks like a zip archive"),
        ("hollow.xlsx", zipped({"xl/x": ""}), r"hollow\.xlsx: it is damaged \("),
        ("blank.docx", docx(paragraph(" ")), r"blank\.docx: the document is empty"),
        ("empty.html", b"<html><script>1</script></html>", r"empty\.html: the document is empty"),
        (
            "bomb.docx",
            docx("", more={"word/big.xml": b"0" * 50_000_000}),
            r"bomb\.docx: word/big\.xml.*decompression bomb",
        ),
    ],
)
def test_file_that_cannot_be_read_is_named_with_the_reason(name: str, data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_document(name, data)
    assert caught.value.remedy


def test_encrypted_pdf_is_said_to_be() -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    saved = io.BytesIO()
    writer.write(saved)
    with pytest.raises(UserError, match=r"locked\.pdf: it is encrypted.*without a password"):
        read_document("locked.pdf", saved.getvalue())


def test_xml_entities_are_neither_expanded_nor_fetched() -> None:
    bomb = "<!DOCTYPE x [" + "<!ENTITY a0 'ha'>"
    bomb += "".join(f"<!ENTITY a{n + 1} '{f'&a{n};' * 10}'>" for n in range(9)) + "]>"
    outside = "<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
    found = read_files(
        [
            ("laughs.docx", docx(paragraph("&a9;"), bomb)),
            ("outside.docx", docx(paragraph("&f;"), outside)),
            ("fine.docx", docx(paragraph("Fine."))),
        ]
    )
    assert [document.text for document in found.documents] == ["Fine."]
    assert [refused.name for refused in found.refused] == ["laughs.docx", "outside.docx"]
    assert "root:" not in str(found)


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parser]:
    """A parser whose worker knows `bad_readers`, which this process knows by suffix only."""
    for suffix in (".fine", ".hang", ".crash", ".greedy", ".noisy"):
        monkeypatch.setitem(
            READERS, suffix, Reader(lambda data: pytest.fail("read in this process"), True, True, "text")
        )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with Parser(time_limit_s=5, modules=["tests.documents.bad_readers"]) as parser:
        yield parser


def test_parser_that_hangs_crashes_or_eats_memory_costs_its_own_file_only(misbehaving: Parser) -> None:
    names = ["1.fine", "2.hang", "3.fine", "4.crash", "5.greedy", "6.noisy", "7.fine"]
    began = time.monotonic()
    found = read_files([(name, b"text") for name in names], parser=misbehaving)
    assert [document.name for document in found.documents] == ["1.fine", "3.fine", "7.fine"]
    said = {refused.name: refused.what for refused in found.refused}
    assert said == {
        "2.hang": "2.hang: reading it was given up after 5 seconds.",
        "4.crash": "4.crash: its parser crashed (SIGSEGV).",
        "5.greedy": "5.greedy: reading it needs too much memory.",
        "6.noisy": "6.noisy: it is damaged (RuntimeError: bad things).",
    }
    assert time.monotonic() - began < 30


def test_one_process_reads_a_whole_batch_and_none_is_left_behind() -> None:
    me = psutil.Process(os.getpid())
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.update(child.pid for child in me.children())

    before = {child.pid for child in me.children()}
    watching = threading.Thread(target=watch)
    watching.start()
    found = read_files([(f"{n}.html", b"<p>text</p>") for n in range(20)])
    done.set()
    watching.join()
    assert len(found.documents) == 20
    assert len(seen - before) == 1
    assert {child.pid for child in me.children()} <= before


def test_texts_and_tables_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parser, "parse", lambda *given: pytest.fail("a process was asked"))
    assert len(read_files([("a.md", b"a"), ("b.txt", b"b"), ("c.csv", b"a,b\n1,2\n")]).documents) == 3
