"""Zip archives: what is in them is read, and nothing in them does harm."""

from __future__ import annotations

import io
import resource
import stat
import struct
import warnings
import zipfile

import pytest

from core.documents.reading import ReadFiles, archives, read_files


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in files.items():
            entry = zipfile.ZipInfo("x")
            # As another program writes it: our own library would correct the name.
            entry.filename = entry.orig_filename = name
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return made.getvalue()


def names(found: ReadFiles) -> list[str]:
    return [document.name for document in found.documents]


@pytest.mark.integration
def test_folders_in_an_archive_are_kept_in_the_names() -> None:
    data = packed({"b/c/two.md": b"# Two", "one.txt": b"One", "b/": b"", "b/three.html": b"<p>Three</p>"})
    found = read_files([("first.md", b"First"), ("all.zip", data), ("last.md", b"Last")])
    assert names(found) == ["first.md", "b/c/two.md", "b/three.html", "one.txt", "last.md"]
    assert not found.refused and not found.skipped


def test_what_holds_no_documents_is_skipped_and_listed() -> None:
    held = {
        "a.md": b"A",
        "__MACOSX/a.md": b"x",
        ".DS_Store": b"x",
        "p/.git/x.md": b"x",
        "~$a.docx": b"x",
        "cat.png": b"x",
    }
    found = read_files([("all.zip", packed(held))])
    assert names(found) == ["a.md"] and not found.refused
    assert sorted(found.skipped) == sorted(set(held) - {"a.md"})


@pytest.mark.parametrize(
    "name",
    ["../up.md", "a/../../up.md", "/etc/passwd.md", "C:\\up.md", "c:up.md", "a\\..\\up.md", "\\\\host\\up.md", ".."],
)
def test_name_that_leads_out_of_the_archive_is_refused_and_the_rest_is_read(name: str) -> None:
    found = read_files([("all.zip", packed({"a.md": b"A", name: b"evil", "z.md": b"Z"}))])
    assert names(found) == ["a.md", "z.md"]
    (refused,) = found.refused
    assert refused.what == f"all.zip, {name}: its name leads out of the archive." and refused.remedy


def test_name_with_control_characters_is_refused_and_shown_without_them() -> None:
    found = read_files([("all.zip", packed({"a\x1b[31m\n.md": b"A", "safe.md\x00.exe": b"B"}))])
    assert not found.documents
    assert sorted(refused.name for refused in found.refused) == ["a?[31m?.md", "safe.md?.exe"]


def test_link_encrypted_entry_and_nested_archive_are_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        link = zipfile.ZipInfo("link.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("locked.md", "x")
        archive.writestr("more.zip", packed({"a.md": b"A"}))
        archive.writestr("ok.md", "Fine")
    data = bytearray(made.getvalue())
    at = data.index(b"locked.md", data.index(b"PK\x01\x02")) - 46
    data[at + 8] |= 1
    found = read_files([("all.zip", bytes(data))])
    assert names(found) == ["ok.md"]
    assert {refused.name: refused.what for refused in found.refused} == {
        "link.md": "all.zip, link.md: it is a link to another file.",
        "locked.md": "all.zip, locked.md: it is encrypted.",
        "more.zip": "all.zip, more.zip: archives within archives are not opened.",
    }


def test_bombs_are_refused_before_they_are_unpacked() -> None:
    flat = packed({"zeros.txt": b"\x00" * 200_000_000})
    many = packed({f"{n}.md": b"" for n in range(archives.MAX_FILES + 1)})
    # One entry that states 4 GB, as in archives whose entries share their bytes.
    stated = bytearray(packed({"a.md": b"A" * 1000}))
    at = stated.index(b"PK\x01\x02")
    stated[at + 24 : at + 28] = struct.pack("<I", 4_000_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    small = packed({f"{n}.txt": b" " * 4_000_000 for n in range(30)})
    given = [
        ("flat.zip", flat),
        ("small.zip", small),
        ("many.zip", many),
        ("stated.zip", bytes(stated)),
        ("a.md", b"A"),
    ]
    found = read_files(given)
    assert names(found) == ["a.md"]
    said = {refused.name: refused.what for refused in found.refused}
    assert "zeros.txt in it would unpack to 200 MB" in said["flat.zip"] and "bomb" in said["flat.zip"]
    assert said["small.zip"].startswith("small.zip: it would unpack to 120 MB from")
    assert "10,001 files" in said["many.zip"]
    assert "would unpack to 4.0 GB" in said["stated.zip"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"


def test_directory_of_millions_of_entries_is_not_even_read() -> None:
    found = read_files([("dir.zip", b"PK\x03\x04" + b"PK\x01\x02" * 200_000)])
    assert "more than 10,000 files" in found.refused[0].what


def test_damaged_archive_and_damaged_entry_are_told_apart() -> None:
    whole = packed({"a.md": b"A" * 5000, "b.md": b"B"})
    hurt = bytearray(whole)
    hurt[40:44] = b"\xff\xff\xff\xff"
    found = read_files(
        [("cut.zip", whole[:-30]), ("hurt.zip", bytes(hurt)), ("no.zip", b"%PDF-1.7"), ("none.zip", b"")]
    )
    assert names(found) == ["b.md"]
    said = {refused.name: refused.what for refused in found.refused}
    assert "its list of files cannot be read" in said["cut.zip"]
    assert said["a.md"] == "a.md: it is damaged within the archive."
    assert "looks like a PDF" in said["no.zip"] and "is empty" in said["none.zip"]


def test_two_files_of_one_name_are_not_mixed_up() -> None:
    found = read_files([("one.zip", packed({"a.md": b"First"})), ("two.zip", packed({"a.md": b"Second"}))])
    assert [document.text for document in found.documents] == ["First"]
    assert "another file of this name" in found.refused[0].what
