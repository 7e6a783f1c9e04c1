"""Files of records: whatever they are written in, the same records come out, and nothing bad goes unnamed."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.example import Problem
from core.data.files import ENCODINGS, MAX_RECORD_BYTES, File, FileKind, Record, detect_kind, records, sheets
from core.errors import UserError

ROWS: list[dict[str, Any]] = [
    {"question": "Größe?", "answer": '12 €, "ungefähr"', "label": "size"},
    {"question": "Two\nlines, and a; b\tc", "answer": "Yes", "label": None},
    {"question": "+1 @home", "answer": "<b>no</b>", "label": "007"},
]


def read(data: bytes, name: str = "upload", **kind: Any) -> list[Record]:
    file = File(name, data)
    found = detect_kind(file)
    return list(records(file, FileKind(**{**found.__dict__, **kind})))


def values(data: bytes, name: str = "upload", **kind: Any) -> list[dict[str, Any] | None]:
    found = read(data, name, **kind)
    assert not [record.problem for record in found if record.problem]
    return [record.value for record in found]


def problems(data: bytes, name: str = "upload", **kind: Any) -> list[Problem]:
    return [record.problem for record in read(data, name, **kind) if record.problem]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def workbook(rows: list[list[Any]], title: str = "Sheet") -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    assert book.active
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.create_sheet("second").append(["name"])
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    data = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), data)
    return data.getvalue()


def every_container() -> dict[str, bytes]:
    sheet = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    return {
        "jsonl": lines(ROWS).encode(),
        "json": json.dumps(ROWS, indent=2).encode(),
        "csv": table(ROWS).encode(),
        "tsv": table(ROWS, "\t").encode(),
        "parquet": parquet(ROWS),
        "excel": workbook(sheet),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["upload", "wrong.jsonl", "wrong.csv", "wrong.json"])
@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "tsv", "parquet", "excel"])
def test_content_decides_and_the_records_are_the_same(container: str, name: str, packed: bool) -> None:
    data = every_container()[container]
    data = gzip.compress(data) if packed else data
    kind = detect_kind(File(name, data))
    assert (kind.container, kind.gzip) == (container, packed)
    assert values(data, name) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "cp1252"])
@pytest.mark.parametrize("write", [lines, lambda rows: json.dumps(rows, ensure_ascii=False, indent=1), table])
def test_encoding_is_recognised(write: Any, encoding: str) -> None:
    assert values(write(ROWS).encode(encoding)) == ROWS


def test_byte_order_mark_of_utf_16_is_no_content() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        assert values(("\ufeff" + table(ROWS)).encode(encoding)) == ROWS


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Ça va être déçu, où est l’été"),
        ("cp1251", "Где моя карта? Я жду её уже две недели."),
        ("cp932", "カードはまだ届いていません。どうすればいいですか"),
        ("gb18030", "我的卡还没有到。我该怎么办？请帮助我。"),
        ("cp949", "카드가 아직 도착하지 않았습니다. 어떻게 해야 하나요?"),
    ],
)
def test_older_encodings_of_any_script_are_recognised(encoding: str, text: str) -> None:
    rows = [{"text": text, "number": number} for number in range(20)]
    assert values(lines(rows).encode(encoding)) == rows


@given(st.text(), st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "gb18030"]), st.booleans())
def test_any_text_survives(text: str, encoding: str, in_list: bool) -> None:
    written = (json.dumps([{"text": text}]) if in_list else json.dumps({"text": text})).encode(encoding)
    kind = FileKind("json" if in_list else "jsonl", encoding=encoding)
    (record,) = records(File("f", written), kind)
    assert record.value == {"text": text} if "\0" not in text else record.problem and record.problem.code == "nul"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_recognised(delimiter: str) -> None:
    assert values(table(ROWS, delimiter).encode()) == ROWS


def test_kind_has_a_title_for_people() -> None:
    assert detect_kind(File("a.jsonl", gzip.compress(b'{"a": 1}\n'))).title == "JSON lines, UTF-8, gzip"
    assert detect_kind(File("a.csv", b"a;b\n1;2\n")).title == "CSV, UTF-8, semicolon"
    assert detect_kind(File("a", parquet(ROWS))).title == "Parquet"
    assert {"utf-8", "utf-16-le", "latin-1"} <= set(ENCODINGS)


@pytest.mark.parametrize(
    ("text", "container", "found"),
    [
        ('{"data": [{"a": 1}, {"a": 2}]}', "json", [{"a": 1}, {"a": 2}]),
        ('{"version": "1", "data": [{"a": 1}],\n "more": {"x": []}}', "json", [{"a": 1}]),
        ('{"version": "1", "data": [{"a": 1}, {"a": 2}]}', "json", [{"a": 1}, {"a": 2}]),
        ('{"prompt": "p", "data": [{"a": 1}]}', "json", [{"prompt": "p", "data": [{"a": 1}]}]),
        ('{"a": 1}\r{"a": 2}\r', "json", [{"a": 1}, {"a": 2}]),
        ('{\n "tickets": [{"a": 1}]\n}', "json", [{"a": 1}]),
        ('{\n "messages": [{"role": "user", "content": "x"}]\n}', "json", None),
        ('{"messages": [{"role": "user", "content": "x"}]}', "jsonl", None),
        ('{\n "a": 1\n}\n{\n "a": 2\n}\n', "json", [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\r\n\r\n{"a": 2}\r\n', "jsonl", [{"a": 1}, {"a": 2}]),
        ('{"a": "x\u2028y\x85z"}\n{"a": 2}', "jsonl", [{"a": "x\u2028y\x85z"}, {"a": 2}]),
        ('[{"a": 1}, {"a": [1.5, -2, true, null]}]', "json", [{"a": 1}, {"a": [1.5, -2, True, None]}]),
        ("[]", "json", []),
        ('{"n": 12345678901234567890123, "x": 1.0}', "jsonl", [{"n": 12345678901234567890123, "x": 1.0}]),
    ],
)
@pytest.mark.parametrize("name", ["a", "a.jsonl", "a.txt"])
def test_json_is_told_by_its_shape(text: str, container: str, found: list[Any] | None, name: str) -> None:
    assert detect_kind(File(name, text.encode())).container == container
    assert values(text.encode(), name) == (found if found is not None else [json.loads(text)])


def test_numbers_of_a_list_are_those_of_lines() -> None:
    rows = [{"whole": 7, "part": 0.1, "large": 2**70, "small": 1e-300}]
    listed = values(json.dumps(rows).encode())
    assert listed == values(lines(rows).encode()) == rows
    assert listed[0] and [type(value) for value in listed[0].values()] == [int, float, int, float]


def test_item_longer_than_the_window_is_read() -> None:
    rows = [{"text": "ä" * size, "n": size} for size in (10, 400_000, 3_000_000, 5)]
    assert values(json.dumps(rows, ensure_ascii=False).encode()) == rows


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.integers())))
def test_list_reads_as_lines_do(rows: list[dict[str, int]]) -> None:
    listed = records(File("a", json.dumps(rows, indent=1).encode()), FileKind("json"))
    assert [record.value for record in listed] == rows


@pytest.mark.parametrize(
    ("line", "code", "column", "said"),
    [
        ("not json", "json", 1, "Expecting value"),
        ('{"a": 1,}', "json", 9, "not JSON"),
        ('{"a": "b', "json", 7, "Unterminated string"),
        ('{"a": 1} {"b": 2}', "json", 10, "Extra data"),
        ('{"a": NaN}', "json", None, "NaN"),
        ('{"a": 1e999}', "number", None, "larger"),
        ('{"a": ' + "1" * 5000 + "}", "number", None, "digits"),
        ("[" * 100_000, "nesting", None, "nested"),
        ('{"a":' * 120 + "1" + "}" * 120, "nesting", None, "nested"),
        ("[1]", "not_object", None, "found a list"),
        ('{"a": "x\\ud800y"}', "surrogate", 9, '"a" holds half a character'),
        ('{"a": ["", {"b": "\\udc00"}]}', "surrogate", 19, '"a[1].b"'),
        ('{"\\ud800": 1}', "surrogate", 3, "half a character"),
        ('{"a": "\\\\\\u0000"}', "nul", 10, "NUL"),
        ('{"a": "x\0"}', "nul", 9, "NUL"),
    ],
)
def test_bad_line_is_named_and_costs_no_other(line: str, code: str, column: int | None, said: str) -> None:
    found = read(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n'.encode())
    assert [record.value for record in found] == [{"a": 1}, None, {"a": 2}]
    problem = found[1].problem
    assert problem and (problem.line, problem.code, problem.column) == (2, code, column)
    assert said in problem.message and problem.remedy and problem.severity == "error"


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ('{"a": 1,}', "Remove the comma"),
        ('{"a": [1, ]}', "Remove the comma"),
        ('{"a": 1} {"b": 2}', "line of its own"),
        ('{"a": None}', "null, true or false"),
        ("{'a': 1}", "double quotes"),
        ("// note", "comment"),
        ('\ufeff{"a": 1}', "byte order mark"),
        ('{"a": "x\ty"}', "\\t"),
        ('{"a" 1}', "quotes, commas and brackets"),
    ],
)
def test_the_usual_slips_have_their_own_remedy(line: str, remedy: str) -> None:
    (problem,) = problems(f'{{"a": 1}}\n{line}\n'.encode())
    assert problem.code == "json" and remedy in problem.remedy


def test_a_line_that_is_too_long_is_named_even_if_it_starts_with_spaces() -> None:
    (problem,) = problems(b'{"a": 1}\n' + b" " * (MAX_RECORD_BYTES + 1) + b'{"a": 2}\n')
    assert (problem.line, problem.code) == (2, "too_long")


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ('{"train": [{"a": 1}], "test": [{"a": 2}]}', [1], 'Read: "train". Not read: "test".'),
        ('{"test": [{"a": 2}], "train": [{"a": 1}]}', [2, 1], 'Read: "test", "train".'),
    ],
)
def test_several_lists_of_records_are_said(text: str, found: list[int], said: str) -> None:
    read_ = read(text.encode())
    assert [record.value["a"] for record in read_ if record.value] == found
    (problem,) = [record.problem for record in read_ if record.problem]
    assert problem.severity == "warning" and said in problem.message


@pytest.mark.parametrize(("byte", "encoding"), [(b"\xe9", "Latin-1"), (b"\x80", "Windows-1252")])
@pytest.mark.parametrize("container", ["jsonl", "json", "csv"])
def test_a_western_byte_late_in_the_file_is_told_its_likely_encoding(
    container: str, byte: bytes, encoding: str
) -> None:
    rows = [{"a": f"number {number}", "b": "x" * 20} for number in range(20_000)] + [{"a": "caf?", "b": "x"}]
    shapes = {"jsonl": lines(rows), "json": json.dumps(rows), "csv": table(rows)}
    (problem,) = problems(shapes[container].encode().replace(b"?", byte))
    assert f'In {encoding} it is "{byte.decode("cp1252")}"' in problem.remedy


def test_escapes_that_only_look_bad_are_read() -> None:
    text = '{"a": "\\ud83d\\ude00", "b": "\\\\u0000 \\\\ud800"}\n'
    assert values(text.encode()) == [{"a": "😀", "b": "\\u0000 \\ud800"}]


def test_repeated_key_is_a_warning_beside_the_record() -> None:
    for data in (b'{"a": 1, "a": 2}\n{"a": 3}', b'[{"a": 1, "a": 2}, {"a": 3}]'):
        first, second = read(data)
        assert first.value == {"a": 2} and second.problem is None
        assert first.problem and (first.problem.code, first.problem.severity) == ("duplicate_key", "warning")


def test_broken_json_names_line_and_column_of_the_file() -> None:
    data = b'[\n {"a": 1},\n {"a": tru},\n {"a": 2}\n]'
    (problem,) = problems(data)
    assert (problem.line, problem.column, problem.unit) == (3, 8, "line")
    (problem,) = problems(b'[{"a": 1}, 7, {"b": 2}]')
    assert (problem.line, problem.unit, problem.code) == (2, "item", "not_object")
    assert [problem.code for problem in problems(b'[{"a": 1}] x')] == ["json"]
    assert [problem.code for problem in problems(b'[{"a": 1}')] == ["json"]


@pytest.mark.parametrize("container", ["jsonl", "json", "csv"])
def test_byte_late_in_the_file_that_breaks_the_encoding_is_named(container: str) -> None:
    rows = [{"a": f"naïve {number}", "b": "x"} for number in range(20_000)]
    shapes = {"jsonl": lines(rows), "json": json.dumps(rows, ensure_ascii=False, indent=0), "csv": table(rows)}
    good = shapes[container].encode()
    place = good.index(b"15000") - 2
    bad = good[:place] + b"\xff" + good[place + 1 :]
    found = read(bad)
    (problem,) = [record.problem for record in found if record.problem]
    assert problem.code == "encoding" and "0xFF" in problem.message and problem.unit == "line"
    assert problem.line == good[:place].count(b"\n") + 1
    assert problem.column == len(good[:place].decode().rpartition("\n")[2]) + 1
    assert sum(record.value is not None for record in found) == len(rows) - 1


def test_half_of_a_pair_in_utf_16_is_named() -> None:
    data = '{"a": 1}\n{"a": "x'.encode("utf-16-le") + b"\x00\xd8" + '"}\n{"a": 2}'.encode("utf-16-le")
    found = read(data)
    assert [record.value for record in found] == [{"a": 1}, None, {"a": 2}]
    assert found[1].problem and (found[1].problem.code, found[1].problem.column) == ("encoding", 9)
    assert "UTF-16 LE" in found[1].problem.message
    odd = read('{"a": 1}\n{"a": 2}\n'.encode("utf-16-le") + b"x")
    assert [record.value for record in odd] == [{"a": 1}, {"a": 2}, None]


@pytest.mark.parametrize(
    ("text", "line", "code", "said"),
    [
        ("a,b\n1,2\n3\n4,5\n", 3, "ragged", '1 of 2 cells; the first one missing is "b"'),
        ("a,b\n1,2\n3,4,5\n4,5\n", 3, "ragged", "has 3 cells, the first row names 2"),
        ('a,b\n1,2\n3,"4" x\n4,5\n', 3, "quotes", "on line 3"),
        ('a,b\n1,2\n3,"4\n4,5\n', 3, "quotes", "never closed"),
        ("a,b\n1,2\n3,x\0y\n4,5\n", 3, "nul", '"b" holds a NUL'),
        (",b\n1,2\n3,4\n", 1, "header", "Column 1 has no name"),
        ("a,a\n1,2\n3,4\n", 1, "header", 'Two columns are called "a"'),
        ("12,a\n1,2\n3,4\n", 1, "header", 'called "12"'),
    ],
)
def test_bad_row_is_named(text: str, line: int, code: str, said: str) -> None:
    found = read(text.encode(), "a.csv")
    (problem,) = [record.problem for record in found if record.problem]
    assert (problem.line, problem.code, problem.unit) == (line, code, "row")
    assert said in problem.message and problem.remedy
    assert sum(record.value is not None for record in found) >= (1 if "never" in said else 2)


def test_names_of_columns_are_bounded_and_unique() -> None:
    """A name is repeated in every record, and a problem in every message about it."""
    wide = [f"c{number}" for number in range(20_000)]
    found = read((",".join(wide) + "\n" + ",".join("x" for _ in wide) + "\n").encode(), "a.csv")
    assert [record.problem.code for record in found if record.problem] == ["header", "ragged"]
    first, last = read(f"a,{'k' * 5000}\n1,2\n".encode(), "a.csv")
    assert first.line == 0 and first.problem and first.problem.line == 1 and "5,000 characters" in first.problem.message
    assert last.value == {"a": "1", "column 2": "2"}
    (record,) = [record for record in read(b"column 2,,b\n1,2,3\n", "a.csv") if record.value]
    assert record.value and list(record.value.values()) == ["1", "2", "3"]


def test_blank_rows_and_empty_columns_are_no_content() -> None:
    text = "a,b,,\r\n\r\n1,,,\r\n,,,\r\n2,x,,\r\n"
    found = read(text.encode(), "a.csv")
    assert [(record.line, record.value) for record in found] == [(3, {"a": "1", "b": None}), (5, {"a": "2", "b": "x"})]


def test_single_column_and_old_line_ends_are_read() -> None:
    assert values(b"text\nHello\nBye\n", "a.csv") == [{"text": "Hello"}, {"text": "Bye"}]
    assert values(b"a,b\r1,2\r3,4\r", "a.csv") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_json_text_in_a_cell_is_left_alone() -> None:
    turns = json.dumps([{"role": "user", "content": "Hi, you"}])
    rows = [{"messages": turns, "label": "x"}, {"messages": turns, "label": "y"}]
    assert values(table(rows).encode()) == values(parquet(rows)) == rows


def test_cells_of_a_workbook_become_values() -> None:
    when = datetime.datetime(2024, 1, 31, 12, 30)
    data = workbook([[], ["name", "v"], ["day", when.date()], ["time", when], ["yes", True], ["n", 5], ["x", 0.5], []])
    found = read(data)
    assert [(record.line, (record.value or {})["v"]) for record in found] == [
        *[(3, "2024-01-31"), (4, "2024-01-31T12:30:00"), (5, True), (6, 5), (7, 0.5)]
    ]
    assert [type((record.value or {})["v"]) for record in found] == [str, str, bool, int, float]


def test_sheet_is_chosen_by_name() -> None:
    file = File("book.xlsx", workbook([["a"], [1]], "first"))
    assert sheets(file, FileKind("excel")) == ["first", "second"]
    assert [record.value for record in records(file, FileKind("excel"))] == [{"a": 1}]
    assert list(records(file, FileKind("excel", sheet="second"))) == []
    with pytest.raises(UserError, match='no sheet "third"'):
        list(records(file, FileKind("excel", sheet="third")))


def test_cells_of_parquet_become_values() -> None:
    import decimal

    row = {
        "turns": [{"role": "user", "content": "é"}],
        "when": datetime.datetime(2024, 1, 31, 12, 30),
        "price": decimal.Decimal("1.50"),
        "bytes": b"abc",
        "nothing": float("nan"),
    }
    expected = {**row, "when": "2024-01-31T12:30:00", "price": 1.5, "bytes": "abc", "nothing": None}
    assert values(parquet([row])) == [expected]
    assert [problem.code for problem in problems(parquet([{"a": b"\xff"}, {"a": b"x"}]))] == ["type"]
    assert [problem.code for problem in problems(parquet([{"a": float("inf")}, {"a": 1.0}]))] == ["number"]


def test_a_date_that_python_has_not_costs_its_row_alone() -> None:
    import pyarrow
    from pyarrow import parquet

    data = io.BytesIO()
    days = pyarrow.array([0, 2**62, 86_400_000], pyarrow.timestamp("ms"))
    parquet.write_table(pyarrow.table({"a": [1, 2, 3], "day": days}), data)
    found = read(data.getvalue())
    assert [record.value and record.value["day"] for record in found] == ["1970-01-01", None, "1970-01-02"]
    assert found[1].problem and (found[1].problem.line, found[1].problem.code) == (2, "type")


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    rows = [{"a": f"row {number}", "b": "x" * 50} for number in range(20_000)]
    for data in (lines(rows).encode(), gzip.compress(lines(rows).encode()), table(rows).encode(), parquet(rows)):
        path = tmp_path / "upload"
        path.write_bytes(data)
        file = File("upload", path=path)
        ends = [record.end for record in records(file, detect_kind(file))]
        assert len(ends) == len(rows) and ends == sorted(ends) and ends[-1] == file.size == len(data)


def test_reading_can_be_left_early(tmp_path: Path) -> None:
    for data in every_container().values():
        path = tmp_path / "upload"
        path.write_bytes(data)
        file = File("upload", path=path)
        reading = records(file, detect_kind(file))
        assert next(reading).value == ROWS[0]
        reading.close()  # type: ignore[attr-defined]


def test_public_files_are_read_without_a_problem(shared_data: Path) -> None:
    expected = {
        "banking77/train.csv": ("csv", 10_003),
        "insurance-tickets/train.tsv": ("tsv", 68),
        "anthropic-json-mode-ft/json_mode_dataset.jsonl": ("jsonl", 500),
        "fastchat-identity-sharegpt/dummy_conversation.json": ("json", 500),
        "snips-slots/GetWeather/train_GetWeather_full.json": ("json", 2_000),
        "xquad-vi/xquad.vi.json": ("json", 48),
    }
    for name, (container, count) in expected.items():
        file = File(name, path=shared_data / name)
        kind = detect_kind(file)
        found = list(records(file, kind))
        assert (kind.container, len(found)) == (container, count), name
        assert not [record.problem for record in found if record.problem]


def test_wrong_byte_in_a_public_file_is_found(shared_data: Path) -> None:
    """The file is UTF-8 but for one line that somebody wrote in Latin-1."""
    path = shared_data / "snips-slots" / "PlayMusic" / "train_PlayMusic_full.json"
    file = File(path.name, path=path)
    (problem,) = [record.problem for record in records(file, detect_kind(file)) if record.problem]
    line = path.read_bytes().split(b"\n")[problem.line - 1]
    with pytest.raises(UnicodeDecodeError) as caught:
        line.decode()
    assert problem.column == len(line[: caught.value.start].decode()) + 1
