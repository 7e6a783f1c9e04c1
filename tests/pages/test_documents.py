"""Documents through the page: read, refused, cut, built, asked, measured and cited."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select, update
from streamlit.testing.v1 import AppTest

from core.documents.index import build_index, create_index
from core.documents.languages import FOREIGN_WEIGHT
from core.documents.listing import facets, listed, would_change
from core.documents.reading import SourceDocument
from core.evaluate.lab import MEASURES, LabReport, Setting, default_settings
from core.evaluate.lab.rankings import present
from core.evaluate.lab.report import Measured
from core.jobs import queue
from core.settings import get_settings
from core.store.database import session
from core.store.lists import indexes
from core.store.tables import Document, Index, Prediction
from pages.widgets.marking import Span, highlight
from tests.pages.furnish import NASTY, Furnished, ended
from tests.pages.looking import Open, texts


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, data in files.items():
            opened.writestr(name.replace("__", "/").replace("_", "."), data)
    return packed.getvalue()


def given(open_page: Open, *files: tuple[str, bytes], key: str = "add_0_files", **address: object) -> AppTest:
    app = open_page("data", tab="Documents", **address)
    for name, data in files:
        app.file_uploader(key=key).upload(name, data)
    app.run()
    assert not app.exception
    return app


def click(app: AppTest, start: str) -> AppTest:
    (found,) = [button for button in app.button if (button.key or "").startswith(start)]
    found.click().run()
    assert not app.exception
    return app


def index_of(index_id: int) -> Index:
    with session(read_only=True) as db:
        return db.get_one(Index, index_id)


def waiting(index_id: int) -> int:
    with session(read_only=True) as db:
        return len(
            db.scalars(select(Document.id).where(Document.index_id == index_id, Document.chunk_count == 0)).all()
        )


def test_good_files_become_an_index_and_each_bad_one_is_listed(open_page: Open) -> None:
    app = given(
        open_page,
        ("a.md", b"# A\n\nThe ramp opens at six."),
        ("empty.md", b"  "),
        ("lie.pdf", b"Only text, whatever the name says."),
        ("more.zip", archive(b_md=b"# B", **{"..__evil_md": b"# Evil", "notes__c_txt": b"Dogs travel free."})),
    )
    refused = app.dataframe[0].value
    assert refused["file"].tolist() == ["empty.md", "lie.pdf", "../evil.md"]
    assert all(refused["what is wrong"]) and all(refused["what to do"])
    assert "3 documents read" in texts(app)
    app.button(key="build_index").click().run()
    assert not app.exception
    (made,) = indexes()
    assert [row.name for row in listed(made.index.id)[1]] == ["a.md", "b.md", "notes/c.txt"]
    assert [job.kind for job in queue.jobs()] == ["index"]
    assert "3 documents not embedded yet" not in texts(app)


def test_nothing_is_stored_when_no_file_can_be_read(open_page: Open) -> None:
    app = given(open_page, ("a.md", b""))
    assert "1 file cannot be read" in texts(app)
    assert not [button for button in app.button if button.key == "build_index"]
    assert indexes() == []


def test_a_folder_on_this_machine_is_read_only_below_the_inbox(open_page: Open, tmp_path: Path) -> None:
    app = open_page("data", tab="Documents")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.md").write_text("# Secret")
    inbox = get_settings().home / "inbox"
    (inbox / "handbook" / "old").mkdir(parents=True)
    (inbox / "handbook" / "old" / "a.md").write_text("# A")
    (inbox / "handbook" / "link.md").symlink_to(elsewhere / "secret.md")
    (inbox / "way-out").symlink_to(elsewhere)
    way = next(group for group in app.button_group if group.key == "add_0_way")
    way.set_value("A folder on this machine").run()
    folders = app.selectbox(key="add_0_inbox")
    assert folders.options == [".", "handbook", "way-out", "handbook/old"]
    folders.set_value("handbook").run()
    app.button(key="add_0_scan").click().run()
    assert "1 document read" in texts(app)
    assert "1 file left aside" in [fold.label for fold in app.expander]
    folders.set_value("way-out").run()
    app.button(key="add_0_scan").click().run()
    assert "lies elsewhere" in texts(app)


def test_sizes_come_from_the_limit_of_the_chosen_embedder(open_page: Open) -> None:
    app = given(open_page, ("a.md", b"# A"))
    size = app.number_input(key="add_0_chunk_bundled/all-MiniLM-L6-v2")
    assert (size.value, size.max) == (128, 237)
    small = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
    app.selectbox(key="add_0_embedder").set_value(small).run()
    size = app.number_input(key=f"add_0_chunk_{small}")
    assert (size.value, size.max) == (109, 109)


@pytest.mark.integration
def test_the_preview_says_where_each_chunk_stands(open_page: Open) -> None:
    text = f"# Ferry\n\n## Times\n\n{'The ramp opens at six. ' * 60}\n\n## Dogs\n\n{NASTY}"
    app = given(open_page, ("a.md", text.encode()))
    app.toggle(key="add_0_preview").set_value(True).run()
    assert not app.exception
    said = texts(app)
    assert "Ferry \\> Times" in said and " tokens each" in said
    assert NASTY in "\n".join(element.value for element in app.text)
    assert indexes() == []


def test_updating_says_what_is_new_and_queues_one_build(open_page: Open, furnished: Furnished) -> None:
    app = given(
        open_page,
        ("note-1.md", b"# Note 1\n\nAnother text."),
        ("new.md", b"# New"),
        ("note-2.md", b""),
        key=f"update_{furnished.index}_0_files",
        index=furnished.index,
        part="Documents",
    )
    assert "1 new: new.md. 1 changed: note-1.md." in texts(app)
    app.checkbox(key=f"update_{furnished.index}_0_remove").set_value(True).run()
    before = len(queue.jobs("index"))
    app.button(key=f"update_{furnished.index}_0_now").click().run()
    assert not app.exception
    assert [row.name for row in listed(furnished.index)[1]] == ["new.md", "note-1.md", "note-2.md"], (
        "a file that cannot be read now is not taken for one that has gone"
    )
    assert waiting(furnished.index) == 2
    assert len(queue.jobs("index")) == before + 1
    given(
        open_page,
        ("newer.md", b"# Newer"),
        key=f"update_{furnished.index}_0_files",
        index=furnished.index,
        part="Documents",
    ).button(key=f"update_{furnished.index}_0_now").click().run()
    assert len(queue.jobs("index")) == before + 1, "the build that waits takes the new document along"


def test_chosen_documents_are_removed_for_good(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Documents")
    app.text_input(key="documents_search").set_value("NOTE-3").run()
    shown = app.dataframe[0]
    assert shown.value["document"].tolist() == ["note-3.md"]
    app.session_state[shown.key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    app.button(key=f"remove_documents_{furnished.index}").click().run()
    assert not app.exception
    assert "note-3.md" not in [row.name for row in listed(furnished.index)[1]]
    assert listed(furnished.index)[0] == 5


def test_a_document_is_shown_as_text_whatever_it_holds(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Documents")
    shown = app.dataframe[0]
    app.session_state[shown.key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    app.button(key="read_document").click().run()
    assert not app.exception
    assert "The ramp at pier 0" in texts(app)
    assert NASTY not in "\n".join(element.value for element in app.markdown)


def test_an_embedder_that_does_not_know_the_language_is_said(open_page: Open, furnished: Furnished) -> None:
    with session() as db:
        db.execute(update(Index).values(language="vi", dense_weight=FOREIGN_WEIGHT))
    app = open_page("data", tab="Documents", index=furnished.index)
    assert "does not know the language" in texts(app)
    assert "Vietnamese" in texts(app) and "multilingual" in texts(app)


def test_how_it_is_searched_is_stored_with_the_index(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Settings")
    assert app.button(key="save_search").disabled
    app.radio[0].set_value("sparse").run()
    click(app, "save_search")
    assert index_of(furnished.index).mode == "sparse"
    assert "searched by words" in texts(app)
    assert waiting(furnished.index) == 0


@pytest.mark.integration
def test_a_reranker_that_cannot_be_opened_is_not_stored(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Settings")
    app.text_input(key=f"settings_reranker_{furnished.index}_").set_value("/no/such/model").run()
    click(app, "save_search")
    assert "could not be opened" in texts(app)
    assert index_of(furnished.index).reranker == ""


def test_other_sizes_are_built_anew(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Settings")
    (size,) = [field for field in app.number_input if field.label.startswith("Chunk size")]
    size.set_value(64).run()
    click(app, "save_cutting")
    assert index_of(furnished.index).chunk_tokens == 64
    assert waiting(furnished.index) == 6
    assert queue.jobs("index")[0].status == "queued"


def test_delete_asks_and_removes(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Settings")
    click(app, f"index_delete_{furnished.index}")
    assert indexes() == []


@pytest.mark.integration
def test_hits_say_why_and_lead_into_their_document(open_page: Open) -> None:
    documents = [
        SourceDocument("ferry/times.md", "Times", "# Times\n\n## Ramp\n\nThe ramp opens at six.", (), {"team": "deck"}),
        SourceDocument("ferry/dogs.md", "Dogs", f"# Dogs\n\nDogs travel free on deck. {NASTY}"),
        SourceDocument("office/refunds.md", "Refunds", "# Refunds\n\nRefunds of a ticket take nine days."),
    ]
    index_id = create_index("Ferry", documents).id
    build_index(index_id)
    app = open_page("data", tab="Documents", index=index_id)
    app.text_input(key="question").set_value("How long do refunds take?")
    click(app, "FormSubmitter:ask_index")
    said = texts(app)
    assert "**1. Refunds**" in said
    assert "number 1 by meaning" in said and "number 1 by words" in said and "refunds" in said
    assert "1.00 is first by meaning and by words" in said
    app.selectbox(key="index_folder").set_value("ferry/")
    ways = next(group for group in app.button_group if group.key == "index_way")
    ways.set_value("Words")
    app.text_input(key="question").set_value("dogs ramp")
    click(app, "FormSubmitter:ask_index")
    said = texts(app)
    assert "BM25: it adds up" in said and "office/refunds" not in said.replace("\\", "")
    assert "The ramp opens at six" in said
    app.button(key=next(b.key for b in app.button if (b.key or "").endswith("_open"))).click().run()
    assert not app.exception
    marked = [element.value for element in app.markdown if ":yellow-background[" in element.value]
    assert len(marked) == 1
    assert NASTY not in "\n".join(element.value for element in app.markdown)


def test_narrowing_offers_what_the_documents_have(home: Path) -> None:
    documents = [
        SourceDocument("a/b/one.md", "One", "1", (), {"team": "deck", "warning": "a page is missing"}),
        SourceDocument("two.md", "Two", "2", (0,), {"team": "office"}),
    ]
    index_id = create_index("Small", documents).id
    found = facets(index_id)
    assert found.folders == ["a/", "a/b/"]
    assert found.meta == {"team": ["deck", "office"]}
    count, rows = listed(index_id)
    assert (count, [(row.name, row.kind, row.pages, row.warning) for row in rows]) == (
        2,
        [("a/b/one.md", "md", 0, "a page is missing"), ("two.md", "md", 1, "")],
    )
    assert listed(index_id, "100%") == (0, [])


def test_what_an_update_would_do_is_what_it_does(home: Path) -> None:
    old = [SourceDocument(f"{name}.md", name, name) for name in "abc"]
    index_id = create_index("Small", old).id
    new = [old[0], SourceDocument("b.md", "b", "another"), SourceDocument("d.md", "d", "d")]
    changes = would_change(index_id, new)
    assert (changes.added, changes.changed, changes.removed, changes.unchanged) == (
        ("d.md",),
        ("b.md",),
        ("c.md",),
        ("a.md",),
    )


def test_the_lab_takes_a_file_of_questions(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Retrieval lab")
    next(group for group in app.button_group if group.key == "lab_way").set_value("A file").run()
    assert app.button(key="run_lab").disabled
    app.file_uploader(key="lab_file").upload("q.csv", b"question,text\nWhen does pier 1 open?,1 o'clock\n").run()
    next(group for group in app.button_group if (group.key or "").startswith("lab_sizes")).set_value([64]).run()
    app.button(key="run_lab").click().run()
    assert not app.exception
    (job,) = queue.jobs("lab")
    assert job.spec["asked"][0]["question"] == "When does pier 1 open?"
    assert job.spec["sizes"] == [64]


def test_a_file_without_questions_is_refused_with_its_line(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", tab="Documents", index=furnished.index, part="Retrieval lab")
    next(group for group in app.button_group if group.key == "lab_way").set_value("A file").run()
    app.file_uploader(key="lab_file").upload("q.csv", b"question,answer\nWhen?,Now\n").run()
    app.button(key="run_lab").click().run()
    assert "there is no documents or text" in texts(app).replace("\\", "")
    assert queue.jobs("lab") == []


def measured(index_id: int, outcome: str, proposed: int | None) -> dict:
    """A report of the lab on two settings: as it is, and with small chunks by words."""
    settings = [Setting("hybrid", 0.5, 128, 16), Setting("sparse", 0.5, 64, 8)]
    scores = [{name: {"mean": m, "low": m - 0.1, "high": m + 0.1} for name in MEASURES} for m in (0.5, 0.7)]
    difference = {"effect": 0.2, "low": 0.1, "high": 0.3, "p": 0.001, "outcome": outcome, "more": 40}
    rows = [Measured(s, s.title, i == 0, 12, scores[i], difference if i else None) for i, s in enumerate(settings)]
    report = LabReport(
        index_id, 80, 60, 100, {"the answer is not in the documents": 20}, 6, 6, 0, "recall@5", 0.02, rows, outcome,
        proposed, f"It may be so. {NASTY}",
    )  # fmt: skip
    return json.loads(json.dumps(report.as_dict() | {"quoted": [f"line 4: {NASTY}"]}))


def test_a_better_setting_is_proposed_and_adopted_by_one_click(open_page: Open, furnished: Furnished) -> None:
    result = measured(furnished.index, "better", 1)
    job = ended("lab", {"index_id": furnished.index}, "Retrieval lab: Handbook", result=result)
    app = open_page("data", tab="Documents", index=furnished.index, part="Retrieval lab")
    assert "Another setting finds more" in texts(app)
    assert "cut and embedded anew" in texts(app)
    shown = app.dataframe[0].value
    assert shown["recall@5, %"].tolist() == ["50.0 (40.0 to 60.0)", "70.0 (60.0 to 80.0)"]
    assert {f"{name}, %" for name in MEASURES} <= set(shown)
    assert "20 of 100 questions could not be used" in [fold.label for fold in app.expander]
    app.button(key=f"lab_use_{job}").click().run()
    assert not app.exception
    index = index_of(furnished.index)
    assert (index.mode, index.chunk_tokens, index.overlap_tokens) == ("sparse", 64, 8)
    assert waiting(furnished.index) == 6
    assert queue.jobs("index")[0].status == "queued"


def test_when_nobody_can_tell_that_is_said(open_page: Open, furnished: Furnished) -> None:
    result = measured(furnished.index, "cannot tell yet", None)
    ended("lab", {"index_id": furnished.index}, "Retrieval lab: Handbook", result=result)
    app = open_page("data", tab="Documents", index=furnished.index, part="Retrieval lab")
    assert "Cannot tell yet" in texts(app)
    assert NASTY not in "\n".join(element.value for element in app.warning)


def test_answers_in_compare_carry_citations(open_page: Open, furnished: Furnished) -> None:
    with session() as db:
        said = f"The ramp at pier 1 opens at 1 o'clock.\n{NASTY}"
        db.execute(update(Prediction).where(Prediction.rung == "rag").values(output=said))
    app = open_page("compare", experiment=furnished.finished, part="Side by side", show="wrong", of="rag")
    assert "of the answer is in passage 1" in texts(app)
    assert any(":green-background[" in element.value for element in app.markdown)
    assert NASTY not in "\n".join(element.value for element in [*app.markdown, *app.caption])
    key = next(b.key for b in app.button if (b.key or "").endswith("_0_open"))
    app.button(key=key).click().run()
    assert not app.exception
    assert any(":yellow-background[" in element.value for element in app.markdown)
    with session() as db:
        db.execute(update(Document).values(text="Something else entirely."))
    app.button(key=key).click().run()
    assert "has changed since" in texts(app)


def test_marks_are_the_only_markup() -> None:
    shown = highlight("a *b*\n    code  x\n# no heading", [Span(2, 5, "yellow"), Span(3, 4, "green")])
    assert shown.startswith("a :yellow-background[\\*]:green-background[**b**]:yellow-background[\\*]")
    assert "\u00a0\u00a0\u00a0\u00a0code\u00a0 x" in shown
    assert "\\# no heading" in shown


def test_the_lab_holds_all_against_the_present_setting() -> None:
    index = Index(mode="hybrid", dense_weight=0.4, chunk_tokens=128, overlap_tokens=16, reranker="")
    settings = default_settings(index, sizes=(64,))
    assert settings[0] == present(index)
    assert len(set(settings)) == len(settings)
