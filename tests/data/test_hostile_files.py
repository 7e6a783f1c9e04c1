"""Whatever is uploaded, reading it ends with a message that says what and where, and within bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.data.files import MAX_NESTING, MAX_RECORD_BYTES, File, FileKind, detect_kind, records
from core.errors import UserError
from tests.data.test_files import every_container, parquet, workbook

REPOSITORY = Path(__file__).resolve().parents[2]
# Address space for a process that reads: Python with pyarrow takes a third of it, a chart of the data the rest.
ALLOWED_BYTES = 2**30


def said(data: bytes, name: str) -> list[str]:
    """Codes of the problems, or the refusal; anything else that is raised fails the test."""
    file = File(name, data)
    try:
        return [record.problem.code for record in records(file, detect_kind(file)) if record.problem]
    except UserError as error:
        assert error.what.startswith(name) and error.remedy
        return [error.what]


def cases(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "json-test-suite").glob("test_*/*.json")):
        yield path.name, path.read_bytes()


@pytest.mark.parametrize("name", ["upload.json", "upload.jsonl", "upload"])
def test_json_test_suite_as_uploads(shared_data: Path, name: str) -> None:
    """What is JSON parses; what is not is refused. A single bare value is no table, whatever it is."""
    count = 0
    for case, data in cases(shared_data):
        found = said(data, name)
        count += 1
        if case.startswith("y_"):
            assert "json" not in found and "encoding" not in found, (case, found)
        if case.startswith("n_"):
            assert found, case
    assert count > 300


def test_json_test_suite_as_lines(shared_data: Path) -> None:
    """Each case stands as one line between two good ones, which are read whatever the case."""
    for case, data in cases(shared_data):
        line = data.replace(b"\r", b" ").replace(b"\n", b" ")
        file = File("upload.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
        first, *middle, last = records(file, FileKind("jsonl"))
        assert (first.value, last.value) == ({"a": 1}, {"a": 2}), case
        assert len(middle) == (1 if line.strip() else 0), case
        for record in middle:
            code = record.problem.code if record.problem else ""
            if case.startswith("y_"):
                assert code not in ("json", "encoding"), (case, code)
            # Two of the cases are wrong only in that they span lines.
            if case.startswith("n_") and b"\n" not in data:
                assert record.value is None and record.problem and record.problem.line == 2, case


def jpeg_head() -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200)


def archive(names: list[str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        for name in names:
            out.writestr(name, "x")
    return data.getvalue()


@pytest.mark.parametrize("name", ["upload.jsonl", "upload.csv", "upload.xlsx"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b" \r\n\t\n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"%PDF-1.7\n%\xe2\xe3\n1 0 obj", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "an image"),
        (jpeg_head(), "an image"),
        (archive(["a.jsonl"]), "a zip archive"),
        (archive(["[Content_Types].xml", "word/document.xml"]), "a Word document"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "Office"),
        (gzip.compress(gzip.compress(b'{"a": 1}')), "packed twice"),
        (gzip.compress(bytes(257) + b"ustar"), "tar"),
        (b"<!DOCTYPE html><html><body>a,b</body></html>", "web page"),
        (bytes(range(256)) * 20, "not text"),
        (b"\xff\xfe\x00\x00[\x00\x00\x00", "UTF-32"),
        (gzip.compress(b'{"a": 1}\n' * 100)[:-12], "breaks off"),
        (gzip.compress(random.Random(1).randbytes(1000))[:500], "breaks off"),
        (gzip.compress(b'{"a": 1}\n' * 100)[:-8] + bytes(8), "damaged"),
        (b"PAR1" + bytes(100), "no readable Parquet"),
        (parquet([{"a": 1}])[:-9], "no readable Parquet"),
    ],
)
def test_files_of_the_wrong_type_are_refused_in_words(data: bytes, what: str, name: str) -> None:
    (message,) = said(data, name)
    assert what in message


def test_prose_is_no_table() -> None:
    (message,) = said(b"It was a bright cold day, and the clocks\nwere striking. Winston, his chin\nnuzzled\n", "a.txt")
    assert "without a structure" in message


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "tsv", "parquet", "excel"])
def test_damaged_bytes_never_raise_anything_else(container: str) -> None:
    """Seeded damage to a good file of each kind, plain and packed: a record, a problem or a refusal, no exception."""
    rng = random.Random(container)
    good = every_container()[container]
    for round_ in range(12 if container in ("excel", "parquet") else 150):  # These start a process for each.
        packed = bytearray(gzip.compress(good) if round_ % 5 == 0 else good)
        for _ in range(rng.randint(1, 6)):
            packed[rng.randrange(len(packed))] = rng.randrange(256)
        said(bytes(packed[: rng.randint(len(packed) // 2, len(packed))] if round_ % 3 == 0 else packed), "upload")


def test_a_file_that_ends_the_process_that_reads_it_is_a_message() -> None:
    """With this byte, Arrow's library calls abort()."""
    good = parquet([{"a": 1}, {"a": 2}])
    bad = good.replace(b"%\x02\x18\x01a", b"%\x12\x18\x01a")
    assert bad != good
    (message,) = said(bad, "a.parquet")
    assert "no readable Parquet file: it is damaged" in message


def test_an_object_of_countless_members_is_read_in_time() -> None:
    """Joining what was read so far at every member would take minutes."""
    started = time.process_time()
    members = {f"member {number}": number for number in range(300_000)}
    (record,) = records(File("a.json", json.dumps(members, indent=0).encode()), FileKind("json"))
    assert record.value == members and time.process_time() - started < 20


def test_deep_nesting_stops_at_the_limit() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    for data in (nested(MAX_NESTING), b"[" + nested(MAX_NESTING) + b"]"):
        assert said(data, "a.json") == []
    for data in (nested(MAX_NESTING + 1), nested(100_000), b"[" + nested(100_000) + b"]", b'{"a":' * 100_000):
        assert said(data, "a.json") == ["nesting"]
        assert said(data, "a.jsonl") == ["nesting"]


def test_longest_record_is_read_and_the_next_byte_refused() -> None:
    fits = b'{"a": "' + b"x" * (MAX_RECORD_BYTES - 10) + b'"}\n'
    assert len(fits) == MAX_RECORD_BYTES
    assert said(fits, "a.jsonl") == []
    assert said(fits.replace(b"x", b"xx", 1) + b'{"a": 1}\n', "a.jsonl") == ["too_long"]


def jsonl_of_one_line(folder: Path) -> Path:
    path = folder / "line.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(100):
            file.write(b"x" * 10**6)
        file.write(b'"}\n{"a": 2}\n')
    return path


def json_of_one_item(folder: Path) -> Path:
    path = folder / "item.json"
    with path.open("wb") as file:
        file.write(b'[{"a": 1}, {"a": "')
        for _ in range(100):
            file.write(b"x" * 10**6)
        file.write(b'"}]')
    return path


def unclosed_quote(folder: Path) -> Path:
    path = folder / "quote.csv"
    with path.open("wb") as file:
        file.write(b'a,b\n1,2\n3,"')
        for _ in range(100_000):
            file.write(b"x" * 998 + b",\n")
    return path


def gzip_bomb(folder: Path) -> Path:
    path = folder / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(300):
            file.write(b'{"a": "' + b"x" * 10**6 + b'"}\n')
    return path


def sheet(folder: Path, name: str, rows: Iterator[bytes]) -> Path:
    path = folder / name
    source = zipfile.ZipFile(io.BytesIO(workbook([["a"]])))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for part in source.namelist():
            if part.endswith("sheet1.xml"):
                with out.open(part, "w", force_zip64=True) as file:
                    file.write(b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">')
                    file.write(b"<sheetData>")
                    for row in rows:
                        file.write(row)
                    file.write(b"</sheetData></worksheet>")
            else:
                out.writestr(part, source.read(part))
    return path


def xlsx_of_one_cell(folder: Path) -> Path:
    def rows() -> Iterator[bytes]:
        yield b'<row r="1"><c r="A1" t="inlineStr"><is><t>'
        yield from (b"x" * 10**6 for _ in range(600))
        yield b"</t></is></c></row>"

    return sheet(folder, "cell.xlsx", rows())


def xlsx_of_two_far_cells(folder: Path) -> Path:
    far = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return sheet(folder, "far.xlsx", iter([far]))


def parquet_of_one_value(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet as library

    path = folder / "value.parquet"
    values = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 60), ["x" * 9_000_000])
    library.write_table(pyarrow.table({"a": values}), path)
    return path


def parquet_of_one_list(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet as library

    path = folder / "list.parquet"
    count = 60_000_000
    values = pyarrow.repeat(pyarrow.scalar(7, pyarrow.int32()), count)
    offsets = pyarrow.array([0, count], pyarrow.int32())
    library.write_table(pyarrow.table({"a": pyarrow.ListArray.from_arrays(offsets, values)}), path)
    return path


def parquet_of_one_page(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet as library

    path = folder / "page.parquet"
    library.write_table(pyarrow.table({"a": ["x" * 100_000_000]}), path)
    return path


READ = f"""
import resource, sys
from pathlib import Path
from core.data.files import File, detect_kind, records
from core.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, ({ALLOWED_BYTES}, {ALLOWED_BYTES}))
file = File("upload", path=Path(sys.argv[1]))
good = bad = 0
try:
    for record in records(file, detect_kind(file)):
        good += record.value is not None
        if record.problem:
            bad += 1
            if bad <= 3:
                print(record.problem)
except UserError as error:
    print(error)
print(good, "good,", bad, "bad")
# Not ru_maxrss, which starts with what the test's own process had used.
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("make", "message", "end"),
    [
        (jsonl_of_one_line, "line 2: This is 100.0 MB long", "2 good, 1 bad"),
        (json_of_one_item, "line 1: This is longer than the 10 MB", "1 good, 1 bad"),
        (unclosed_quote, "row 3: This is 10.0 MB long", None),
        (gzip_bomb, "reading stopped", None),
        (xlsx_of_one_cell, "more memory or time than a file may", "0 good, 0 bad"),
        (xlsx_of_two_far_cells, "more memory or time than a file may", "0 good, 0 bad"),
        (parquet_of_one_value, None, "60 good, 0 bad"),
        (parquet_of_one_list, "take more memory than they may", "0 good, 0 bad"),
        (parquet_of_one_page, "unpacks to more than 95 MiB", "0 good, 0 bad"),
    ],
)
def test_memory_is_bounded(make: Callable[[Path], Path], message: str | None, end: str | None, tmp_path: Path) -> None:
    """Read in a process that may use no more than 1 GiB of addresses, and in fact uses less than 500 MB."""
    command = [sys.executable, "-c", READ, str(make(tmp_path))]
    done = subprocess.run(command, cwd=REPOSITORY, env=dict(os.environ), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *lines, counts, peak = done.stdout.splitlines()
    assert message is None or any(message in line for line in lines), lines
    assert end in (None, counts)
    assert int(peak) < 500 * 1024


def test_reading_a_record_at_a_time_holds_one_record() -> None:
    """A generator that kept what it has read would hold 50 MB here."""
    import tracemalloc

    data = b"".join(b'{"text": "%0500d"}\n' % number for number in range(100_000))
    tracemalloc.start()
    count = sum(record.value is not None for record in records(File("a.jsonl", data), FileKind("jsonl")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000 and peak < 5_000_000
