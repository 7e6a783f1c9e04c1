"""Examples through the page: recognised, checked like a program, mended, imported, looked at, edited and taken away."""

from __future__ import annotations

import gzip
import json
import time

import pytest
from streamlit.testing.v1 import AppTest

from core.data.dataset import datasets, examples_of
from core.data.rows import REMOVED, Filter, page, row_of
from core.jobs import queue
from core.settings import get_settings
from tests.pages.furnish import NASTY, Furnished, ended, jsonl
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
ALPACA = json.dumps(
    [{"instruction": f"Name city {i}", "input": "", "output": f"City number {i}"} for i in range(30)]
).encode()


def given(open_page: Open, train: bytes, name: str = "train.jsonl", test: bytes | None = None) -> AppTest:
    """The page with files in its form."""
    app = open_page("data")
    app.file_uploader(key="train_file_0").upload(name, train)
    if test is not None:
        app.file_uploader(key="test_file_0").upload("test.jsonl", test)
    app.run()
    assert not app.exception
    return app


def imported(app: AppTest) -> AppTest:
    app.button(key="import_now").click().run()
    assert not app.exception
    return app


def button(app: AppTest, start: str) -> AppTest:
    """Click the one button whose key begins so."""
    (found,) = [button for button in app.button if (button.key or "").startswith(start)]
    found.click().run()
    assert not app.exception
    return app


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def wrong(app: AppTest) -> str:
    """Everything that the tables of problems say."""
    return "\n".join(
        "\n".join(table.value["what is wrong"]) for table in app.dataframe if "what is wrong" in table.value
    )


def test_every_broken_line_is_listed_and_nothing_can_be_imported(open_page: Open) -> None:
    app = given(open_page, BROKEN)
    assert figures(app)["Errors"] == "4"
    listed = app.dataframe[0].value
    assert listed["line"].tolist() == [2, 3, 4, 5]
    assert all(listed["what is wrong"]) and all(listed["what to do"])
    assert app.button(key="import_now").disabled
    assert datasets() == []


def test_kinds_of_problems_can_be_told_apart(open_page: Open) -> None:
    app = given(open_page, BROKEN)
    kinds = next(pills for pills in app.button_group if pills.key and pills.key.endswith("_error_kinds"))
    kinds.set_value(["json"]).run()
    assert app.dataframe[0].value["line"].tolist() == [2]


def test_a_good_file_is_imported_with_its_splits(open_page: Open) -> None:
    app = imported(given(open_page, jsonl(100)))
    assert "Imported" in texts(app)
    assert [metric.value for metric in app.metric[:3]] == ["72", "8", "20"]
    assert "Exact match" in texts(app)
    assert "With 20 test examples" in texts(app)


def test_a_second_import_is_opened_from_whatever_was_looked_at(open_page: Open) -> None:
    app = imported(given(open_page, jsonl(100)))
    next(choice for choice in app.button_group if choice.key == "view").set_value(["Export"]).run()
    app.file_uploader(key="train_file_1").upload("second.jsonl", jsonl(50)).run()
    imported(app)
    assert "Imported" in texts(app)
    assert [dataset.name for dataset in datasets()] == ["second", "train"]
    assert [metric.value for metric in app.metric[:3]] == ["36", "4", "10"]


def test_broken_lines_can_be_left_out(open_page: Open) -> None:
    app = given(open_page, jsonl(30) + b"\nnot json")
    button(app, "fix_drop_broken")
    assert figures(app)["Errors"] == "0" and not app.button(key="import_now").disabled


def test_shares_and_seed_are_followed_and_said_before(open_page: Open) -> None:
    app = given(open_page, jsonl(100))
    app.number_input(key="share_test").set_value(40)
    app.number_input(key="share_validation").set_value(0).run()
    assert "about 40 test what was learnt" in texts(app).replace("\\", "")
    imported(app)
    assert [metric.value for metric in app.metric[:3]] == ["60", "0", "40"]


def test_a_given_test_file_is_the_test_part(open_page: Open) -> None:
    app = given(open_page, jsonl(60), test=jsonl(25, 60))
    assert app.number_input(key="share_test").disabled
    imported(app)
    assert [metric.value for metric in app.metric[:3]] == ["54", "6", "25"]


def test_a_test_that_was_trained_on_is_refused_with_its_lines(open_page: Open) -> None:
    app = imported(given(open_page, jsonl(40), test=jsonl(30, 30)))
    assert "Nothing was imported" in texts(app)
    assert app.dataframe[-1].value["line"].tolist() == list(range(1, 11))
    assert datasets() == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cities.json", ALPACA, "Alpaca"),
        ("cities.json.gz", gzip.compress(ALPACA), "gzip"),
        ("cities.csv", b"question;answer\n" + b"\n".join(b"q%d;a%d" % (i, i) for i in range(20)), "semicolon"),
        ("cities.jsonl", jsonl(20).decode().encode("utf-16"), "UTF\u201116"),
    ],
)
def test_what_a_file_is_is_said_in_words(name: str, content: bytes, said: str, open_page: Open) -> None:
    app = given(open_page, content, name)
    assert said.replace("\u2011", "-").casefold() in texts(app).replace("\\", "").casefold()
    assert figures(app)["Errors"] == "0"


def test_columns_nobody_knows_are_mapped_with_a_preview(open_page: Open) -> None:
    rows = b"\n".join(b"ship %d is late,desk %d,%d" % (i, i % 3, i) for i in range(30))
    app = given(open_page, b"alpha,beta,gamma\n" + rows, "odd.csv")
    assert "Choose the columns" in texts(app)
    assert not [found for found in app.button if found.key == "import_now"]

    def column(field: str):
        return next(box for box in app.selectbox if box.key and box.key.startswith(f"map_{field}_"))

    column("prompt").set_value("alpha").run()
    column("answer").set_value("beta").run()
    column("label").set_value("beta").run()
    assert "ship 0 is late" in texts(app)
    imported(app)
    (dataset,) = datasets()
    _, example = examples_of(dataset.id, "train")[0]
    assert example.messages[-1]["content"].startswith("ship")
    assert example.label == example.reference


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(300), b"PK\x03\x04" + bytes(300), b"%PDF-1.7\n"])
def test_a_file_of_another_kind_is_refused_in_words(content: bytes, open_page: Open) -> None:
    app = given(open_page, content)
    assert "unexpected problem" not in texts(app)
    assert app.error
    assert not [found for found in app.button if found.key == "import_now" and not found.disabled]
    assert datasets() == []


def test_fixes_are_made_by_a_button_and_taken_back(open_page: Open) -> None:
    line = json.loads(GOOD)
    line["messages"][-1]["content"] = '  {"queue": "spaced"}  '
    app = given(open_page, jsonl(30, 1) + b"\n" + json.dumps(line).encode())
    assert "starts or ends" in wrong(app)
    button(app, "fix_trim_")
    assert "starts or ends" not in wrong(app)
    button(app, "unfix_trim_")
    assert "starts or ends" in wrong(app)
    button(app, "fix_trim_")
    imported(app)
    (dataset,) = datasets()
    answers = [
        example.reference for split in ("train", "validation", "test") for _, example in examples_of(dataset.id, split)
    ]
    assert '{"queue": "spaced"}' in answers


def test_all_fixes_at_once_make_a_broken_file_importable(open_page: Open) -> None:
    bad = [
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
        '{"messages": [{"role": "human", "content": "c"}, {"role": "bot", "content": "d"}]}',
        '{"messages": [{"role": "user", "content": "e"}, {"role": "assistant", "content": ""}]}',
    ]
    app = given(open_page, jsonl(30) + b"\n" + "\n".join(bad).encode())
    assert figures(app)["Errors"] == "4"
    button(app, "fix_all_")
    assert figures(app)["Errors"] == "0"
    assert not app.button(key="import_now").disabled


def test_openai_rules_are_said_but_decide_nothing(open_page: Open) -> None:
    app = given(open_page, jsonl(30))
    app.toggle(key="openai_rules").set_value(True).run()
    # The group is a key that OpenAI does not know.
    assert "OpenAI would refuse" in texts(app)
    assert not app.button(key="import_now").disabled


def test_a_file_on_this_machine_is_chosen_from_the_inbox(open_page: Open) -> None:
    inbox = get_settings().home / "inbox"
    inbox.mkdir()
    (inbox / "big.jsonl").write_bytes(jsonl(30))
    (inbox / "secret.key").write_bytes(b"no")
    (inbox / "link.jsonl").symlink_to("/etc/hostname")
    app = open_page("data")
    next(group for group in app.button_group if group.key == "import_way").set_value("A file on this machine").run()
    assert app.selectbox(key="train_inbox").options == [f"big.jsonl ({len(jsonl(30)) / 1000:.1f} kB)"]
    app.selectbox(key="train_inbox").set_value("big.jsonl").run()
    imported(app)
    assert len(datasets()) == 1


def test_a_refused_large_import_shows_why(open_page: Open, furnished: Furnished) -> None:
    problem = {"file": "big.jsonl", "line": 7, "field": "", "code": "json", "message": "No JSON.", "remedy": "Mend it."}
    result = {"refused": "Nothing was imported.", "problems": [problem], "reports": [{"error_count": 1}]}
    job = ended("import", {"files": []}, "Import: big", result=result)
    app = open_page("data")
    assert "Nothing was imported" in texts(app)
    assert app.dataframe[0].value["line"].tolist() == [7]
    app.button(key=f"import_dismiss_{job}").click().run()
    assert "Nothing was imported" not in texts(app)
    assert queue.jobs("import") == []


@pytest.mark.integration
def test_a_large_file_is_imported_by_a_job_and_then_opened(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.widgets.import_form.IMPORTED_AT_ONCE", 1_000)
    app = imported(given(open_page, jsonl(60)))
    assert "The import has begun" in texts(app)
    deadline = time.monotonic() + 60
    while queue.jobs("import")[0].status in queue.ACTIVE and time.monotonic() < deadline:
        time.sleep(0.2)
    assert queue.jobs("import")[0].status == "done", queue.log_tail(1)
    app.run()
    assert "Imported" in texts(app)
    assert app.query_params["dataset"] in ("1", ["1"])
    assert list((get_settings().home / "staging").iterdir()) == []


def test_too_little_data_is_said(open_page: Open) -> None:
    app = imported(given(open_page, jsonl(11)))
    assert "Few to test" in texts(app)
    assert "Too few to train" in texts(app)


def rows_of(app: AppTest) -> list[str]:
    return app.dataframe[0].value["question"].tolist()


def test_search_and_part_narrow_the_list(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", view="Rows")
    app.text_input(key="rows_search").set_value("Message 7:").run()
    assert len(rows_of(app)) == 1 and "Message 7:" in rows_of(app)[0]
    app.text_input(key="rows_search").set_value("no such text").run()
    assert "No example fits" in texts(app)


def editable(open_page: Open) -> tuple[AppTest, int, int]:
    """(the page at its rows, a data set that nothing rests on, one of its examples)."""
    imported(given(open_page, jsonl(60)))
    dataset = datasets()[0].id
    return open_page("data", dataset=dataset, view="Rows"), dataset, examples_of(dataset, "train")[0][0]


def test_an_example_is_edited_noted_and_restored(open_page: Open) -> None:
    _, dataset, row = editable(open_page)
    app = open_page("data", dataset=dataset, view="Rows", example=row)
    app.button(key=f"edit_button_{row}").click().run()
    app.text_area(key=f"answer_{row}").set_value("Another answer")
    button(app, f"save_{row}")
    found = row_of(row)
    assert found is not None and found.reference == "Another answer"
    app.text_input(key=f"note_{row}").set_value("look again")
    button(app, f"save_note_{row}")
    assert page(dataset, Filter(only="noted"), 0, 10).count == 1
    button(app, f"restore_{row}")
    found = row_of(row)
    assert found is not None and found.reference != "Another answer"


def test_an_empty_answer_is_refused_and_what_was_typed_stays(open_page: Open) -> None:
    _, dataset, row = editable(open_page)
    app = open_page("data", dataset=dataset, view="Rows", example=row)
    app.button(key=f"edit_button_{row}").click().run()
    app.text_area(key=f"answer_{row}").set_value("  ")
    button(app, f"save_{row}")
    assert "The answer is empty" in texts(app).replace("\\", "")
    assert app.text_area(key=f"answer_{row}").value == "  "


def test_a_removal_can_be_undone(open_page: Open) -> None:
    _, dataset, row = editable(open_page)
    app = open_page("data", dataset=dataset, view="Rows", example=row)
    button(app, f"remove_{row}")
    assert page(dataset, Filter(REMOVED), 0, 10).count == 1
    button(app, "undo_remove")
    assert page(dataset, Filter(REMOVED), 0, 10).count == 0


def test_a_data_set_in_use_is_kept_as_it_is_and_its_copy_edited(open_page: Open, furnished: Furnished) -> None:
    row = examples_of(furnished.dataset, "train")[0][0]
    app = open_page("data", dataset=furnished.dataset, view="Rows", example=row)
    assert "kept as it is" in texts(app)
    assert not [found for found in app.button if (found.key or "").startswith("edit_button")]
    button(app, "copy_")
    copy = datasets()[0]
    assert copy.name.endswith("(copy)")
    row = examples_of(copy.id, "train")[0][0]
    app = open_page("data", dataset=copy.id, view="Rows", example=row)
    assert app.button(key=f"edit_button_{row}")


def test_leaks_between_parts_are_listed(open_page: Open) -> None:
    twin = jsonl(1, 7).replace(b"Message 7:", b"Message, 7:").replace(b'"g7"', b'"other"')
    app = imported(given(open_page, jsonl(40), test=jsonl(20, 40) + b"\n" + twin))
    app = open_page("data", view="Splits and leaks")
    assert "1 test example may be answered from memory" in texts(app)
    (found,) = [table.value for table in app.dataframe if "test prompt" in table.value]
    assert "Message, 7:" in found["test prompt"][0] and "Message 7:" in found["training prompt"][0]


def test_no_leak_is_said(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data", view="Splits and leaks")
    assert "How it was split" in texts(app)
    assert "No leak found" in texts(app)


@pytest.mark.integration
def test_a_profile_leads_from_personal_data_to_its_example_without_showing_it(open_page: Open) -> None:
    lines = [json.loads(line) for line in jsonl(40).splitlines()]
    lines[3]["messages"][1]["content"] += " Write to anna.smith@example.org."
    lines[5]["messages"][1] = lines[4]["messages"][1]
    lines[5]["group"] = lines[4]["group"]
    imported(given(open_page, "\n".join(map(json.dumps, lines)).encode()))
    app = open_page("data")
    # The first tokenizer of a process brings its libraries with it.
    next(group for group in app.button_group if group.key == "view").set_value("Profile").run(timeout=120)
    assert "This teaches behaviour" in texts(app)
    assert figures(app)["Personal data"] == "1"
    assert figures(app)["Conflicting prompts"] == "1"
    assert figures(app)["Cut off"] == "0.0 %"
    assert not any("anna" in table.value.to_csv() for table in app.dataframe)
    app.number_input(key="profile_length").set_value(16).run(timeout=120)
    assert figures(app)["Nothing left to learn"] == "100.0 %"


@pytest.mark.parametrize("view", ["Overview", "Splits and leaks", "Rows", "Export"])
def test_every_view_opens_from_a_link_and_says_nothing_unexpected(
    view: str, open_page: Open, furnished: Furnished
) -> None:
    app = open_page("data", view=view)
    assert "unexpected problem" not in texts(app)


def test_dataset_in_use_is_not_deleted(open_page: Open, furnished: Furnished) -> None:
    app = open_page("data")
    app.button(key=f"dataset_delete_{furnished.dataset}").click().run()
    assert "still show results" in texts(app)
    assert datasets()


def test_a_name_full_of_markup_is_shown_as_it_is(open_page: Open) -> None:
    app = given(open_page, jsonl(40))
    app.text_input(key="dataset_name").set_value(NASTY[:100])
    imported(app)
    assert NASTY[:100] not in "\n".join(m.value for m in app.markdown)
    app.switch_page("pages/compare.py").run()
    assert not app.exception
    assert NASTY[:100] not in "\n".join(m.value for m in app.markdown)
