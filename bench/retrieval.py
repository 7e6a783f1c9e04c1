"""How good retrieval is, through the product's own index and search: `python -m bench.retrieval` (about five minutes).

Three public sets with known relevant passages, on which the defaults were chosen: 100 questions about a product's
documentation (232 records), and the 240 paragraphs of XQuAD with 1,190 questions, in English and in Vietnamese. Every
record or paragraph is a document of its own; a document is found with the first of its chunks. And two that had no
part in it: 300 of the English questions over the 48 articles whole, where a passage is right that has the answer, and
Streamlit's documentation, each page asked for by the one-line description in its header, which is not indexed.
Prints each measure of dense, sparse and hybrid search with its 95% interval, and the differences with Holm's p.
`--sweep` also prints other weights and rank constants; `--chunk` sets the size; `--set` takes one set only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.machine import describe
from core.data.files import File
from core.data.reading import read_examples
from core.documents.index import build_index, create_index
from core.documents.reading import SourceDocument, read_folder, scan_folder
from core.documents.retrieval import fuse
from core.evaluate.lab import Asked, resolve, score
from core.evaluate.lab.rankings import Setting, as_it_is
from core.evaluate.lab.relevance import answers_in
from core.evaluate.statistics import compare_all, intervals
from core.store.database import session
from core.store.tables import Index

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SHOWN = ("recall@1", "recall@5", "MRR", "nDCG@10")
Wanted = list[Asked]
Documents = list[SourceDocument]


def documentation() -> tuple[Documents, Wanted]:
    folder = DATA / "anthropic-docs-rag"
    rows = json.loads((folder / "anthropic_docs.json").read_text(encoding="utf-8"))
    asked = json.loads((folder / "docs_evaluation_dataset.json").read_text(encoding="utf-8"))
    documents = [SourceDocument(row["chunk_link"], row["chunk_heading"], row["text"]) for row in rows]
    return documents, [Asked(row["question"], documents=tuple(row["correct_chunks"])) for row in asked]


def paragraphs(language: str) -> tuple[Documents, Wanted]:
    articles = json.loads((DATA / f"xquad-{language}" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    documents: Documents = []
    asked: Wanted = []
    for article in articles:
        for paragraph in article["paragraphs"]:
            name = f"{len(documents):03}.md"
            documents.append(SourceDocument(name, article["title"].replace("_", " "), paragraph["context"]))
            asked += [Asked(row["question"], documents=(name,), group=name) for row in paragraph["qas"]]
    return documents, asked


def articles() -> tuple[Documents, Wanted]:
    folder = DATA / "ready" / "xquad-facts"
    files = [File(name, (folder / name).read_bytes()) for name in ("train.jsonl", "test.jsonl")]
    examples = [example for file in files for example in read_examples(file)]
    asked = [Asked(e.messages[-1]["content"], answers=tuple(answers_in(e.reference)), group=e.group) for e in examples]
    return read_folder(folder / "docs"), asked


def pages() -> tuple[Documents, Wanted]:
    documents = scan_folder(DATA / "streamlit-docs").documents
    described = [(str(one.meta.get("description") or ""), one.name) for one in documents]
    return documents, [Asked(text, documents=(name,)) for text, name in described if text]


SETS: dict[str, Callable[[], tuple[Documents, Wanted]]] = {
    "anthropic-docs-rag": documentation,
    "xquad-en": lambda: paragraphs("en"),
    "xquad-vi": lambda: paragraphs("vi"),
    "xquad-facts": articles,
    "streamlit-docs": pages,
}


def measure(name: str, chunk_tokens: int, sweep: bool) -> None:
    documents, asked = SETS[name]()
    made = create_index(name, documents, chunk_tokens=chunk_tokens)
    chunks = build_index(made.id)
    with session(read_only=True) as db:
        index = db.get_one(Index, made.id)
    found = resolve(made.id, asked)
    questions = found.usable
    groups = [one.group for one in questions]
    cut = as_it_is(made.id, questions)
    settings = {
        mode: Setting(mode, index.dense_weight, index.chunk_tokens, index.overlap_tokens)
        for mode in ("dense", "sparse", "hybrid")
    }
    scores = {mode: score(questions, cut.rank(setting, questions), cut.places) for mode, setting in settings.items()}
    print(
        f"\n{name}: {len(questions)} of {found.given} questions in {len(set(groups))} groups, "
        f"{len(documents)} documents, {chunks} chunks of {chunk_tokens}, language {index.language!r}, "
        f"dense weight {index.dense_weight}"
    )
    for left, count in found.left_out.items():
        print(f"  left out: {count} times {left}")
    shown = {mode: intervals(by_name, groups) for mode, by_name in scores.items()}
    for mode, by_name in scores.items():
        cells = [
            f"{key} {by_name[key].mean():.4f} ({shown[mode][key].low:.3f}-{shown[mode][key].high:.3f})" for key in SHOWN
        ]
        print(f"  {mode:7s} " + "  ".join(cells))
    for key in SHOWN:
        columns = {mode: by_name[key] for mode, by_name in scores.items()}
        for one in compare_all(columns, groups, delta=0.02):
            if one.b == "hybrid":
                print(
                    f"  {key}: hybrid - {one.a} {100 * one.effect:+.2f} points ({100 * one.interval.low:+.2f} to "
                    f"{100 * one.interval.high:+.2f}), p {one.p_adjusted:.4f}, {one.outcome}"
                )
    if sweep:
        weights = np.linspace(0, 1, 11)
        for k in (5, 10, 20, 60):
            by_weight = []
            for weight in weights:
                order = [[id for id, _ in fuse(one.dense_ids, one.sparse_ids, weight, k)] for one in cut.lists]
                by_weight.append(score(questions, order, cut.places))
            for key in SHOWN:
                best = max(scores["dense"][key].mean(), scores["sparse"][key].mean())
                means = [one[key].mean() for one in by_weight]
                print(f"  k {k:2d} {key:9s}", " ".join(f"{m:.4f}{'*' if m >= best else ' '}" for m in means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunk", type=int, default=128)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--set", choices=SETS)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOWEST_RUNG_HOME"] = home
        for name in [options.set] if options.set else SETS:
            measure(name, options.chunk, options.sweep)


if __name__ == "__main__":
    main()
