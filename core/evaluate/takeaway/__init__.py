"""What people take away from a comparison: a report as one HTML or Markdown file, and all answers as CSV or JSONL."""

from core.evaluate.takeaway.documents import html, markdown
from core.evaluate.takeaway.rows import csv_rows, jsonl

__all__ = ["csv_rows", "html", "jsonl", "markdown"]
