"""Bringing data through the page: nothing half imported, everything wrong listed."""

from __future__ import annotations

from core.data.dataset import datasets
from tests.pages.furnish import NASTY, Furnished, jsonl
from tests.pages.looking import Open, texts

GOOD = jsonl(1).decode()
BROKEN = "\n".join(
    [
        GOOD,
        "{not json",
        '{"messages": []}',
        '{"messages": [{"role": "user", "content": "hi"}]}',
        '{"messages": [{"role": "wizard", "content": "=1+1"}]}',
    ]
).encode()


def upload(open_page: Open, train: bytes, test: bytes | None = None):
    app = open_page("data")
    app.file_uploader(key="train_file").upload("train.jsonl", train)
    if test is not None:
        app.file_uploader(key="test_file").upload("test.jsonl", test)
    app.form_submit_button[0].click().run()
    assert not app.exception
    return app


def test_every_broken_line_is_listed_and_nothing_imported(open_page: Open) -> None:
    app = upload(open_page, BROKEN)
    assert "Nothing was imported" in texts(app)
    listed = app.dataframe[0].value
    assert listed["line"].tolist() == [2, 3, 4, 5]
    assert all(listed["what is wrong"]) and all(listed["what to do"])
    assert datasets() == []


def test_good_file_is_imported_with_its_splits(open_page: Open) -> None:
    app = upload(open_page, jsonl(100))
    assert "Imported" in texts(app)
    assert [metric.value for metric in app.metric[:3]] == ["72", "8", "20"]
    assert "Exact match" in texts(app)
    assert "With 20 test examples" in texts(app)


def test_too_little_data_is_said(open_page: Open) -> None:
    app = upload(open_page, jsonl(11))
    assert "Few to test" in texts(app)
    assert "Too few to train" in texts(app)


def test_search_and_split_narrow_the_list(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data")
    app.text_input(key="browse_search").set_value("Message 7:").run()
    assert app.dataframe[0].value["question"].str.contains("Message 7:").all()
    assert len(app.dataframe[0].value) == 1
    app.text_input(key="browse_search").set_value("no such text").run()
    assert "No example fits" in texts(app)


def test_dataset_in_use_is_not_deleted(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data")
    app.button(key=f"dataset_delete_{furnished.dataset}").click().run()
    assert "still show results" in texts(app)
    assert datasets()


def test_a_name_full_of_markup_is_shown_as_it_is(open_page: Open) -> None:
    app = open_page("data")
    app.file_uploader(key="train_file").upload("train.jsonl", jsonl(40))
    app.text_input(key="dataset_name").set_value(NASTY[:100])
    app.form_submit_button[0].click().run()
    assert not app.exception
    app.switch_page("pages/compare.py").run()
    assert not app.exception
    assert NASTY[:100] not in "\n".join(m.value for m in app.markdown)
