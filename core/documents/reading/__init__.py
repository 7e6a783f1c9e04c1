"""Files become documents: a name, a title, the text as Markdown or plain text, its pages, and what it says of itself.

One file here reads one kind; `@reader` registers it by suffix. Another kind is another file and its name below.
"""

from core.documents.reading import book, markdown, pdf, plain, slides, tables, web, word, workbook  # noqa: F401
from core.documents.reading.document import READERS, ReadFiles, Refused, SourceDocument, gives_markdown
from core.documents.reading.files import ARCHIVE, read_document, read_files, read_folder, scan_folder

SUFFIXES = tuple(sorted(READERS))

__all__ = [
    "ARCHIVE",
    "READERS",
    "SUFFIXES",
    "ReadFiles",
    "Refused",
    "SourceDocument",
    "gives_markdown",
    "read_document",
    "read_files",
    "read_folder",
    "scan_folder",
]
