"""What Compare says before, during and after a comparison."""

from __future__ import annotations

from sqlalchemy import update

from core.jobs import queue
from core.store.database import session
from core.store.lists import experiments
from core.store.tables import Document, Index
from tests.pages.furnish import Furnished
from tests.pages.looking import Open, texts


def test_verdict_stands_first(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished)
    assert app.header[0].value == "lora"
    assert "better" in texts(app)
    scores, pairs = app.dataframe[0].value, app.dataframe[1].value
    assert scores["rung"].tolist() == ["base", "prompt", "rag", "lora", "rag+lora"]
    assert scores["scored"].tolist()[0] == "39 of 40"
    assert len(pairs) == 10


def test_stopped_comparison_shows_scores_so_far_and_can_be_resumed(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.stopped)
    assert "Preliminary" in texts(app)
    assert any(button.label == "Resume" for button in app.button)


def test_filter_shows_only_wrong_answers(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished)
    app.selectbox(key="outputs_filter").select("Wrong for lora").run()
    assert not app.exception
    assert "No example fits" in texts(app) or "40 in all" in texts(app)


def test_retrieval_without_documents_is_refused_before_anything_starts(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.selectbox(key="compare_index").set_value(0).run()
    assert "need documents" in texts(app)
    assert app.button(key="start_comparing").disabled


def test_detectable_effect_and_time_are_said_before(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    assert "With 40 test examples" in texts(app)
    assert any(metric.label == "Rough time" for metric in app.metric)


def test_start_with_an_existing_adapter_queues_one_comparison(
    open_page: Open, furnished: Furnished, monkeypatch
) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("compare", new=1, adapter=furnished.adapter)
    before = len(queue.jobs())
    app.button(key="start_comparing").click().run()
    assert not app.exception
    newest = experiments()[0]
    assert newest.adapter_id == furnished.adapter
    assert [job.kind for job in queue.jobs()[: len(queue.jobs()) - before]] == ["compare"]


def test_unfinished_index_is_built_first(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    with session() as db:
        db.execute(update(Document).where(Document.index_id == furnished.index).values(chunk_count=0))
        assert db.get(Index, furnished.index)
    app = open_page("compare", new=1)
    app.button(key="start_comparing").click().run()
    assert not app.exception
    compare, train, index = queue.jobs()[:3]
    assert (compare.kind, train.kind, index.kind) == ("compare", "train", "index")
    assert set(compare.after) == {index.id, train.id}


def test_delete_removes_the_comparison(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished)
    app.button(key=f"experiment_{furnished.finished}").click().run()
    assert not app.exception
    assert [e.id for e in experiments()] == [furnished.stopped]


def test_choice_is_kept_when_one_comes_back(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished)
    app.switch_page("pages/jobs.py").run()
    for key in list(app.query_params):
        del app.query_params[key]
    app.switch_page("pages/compare.py").run()
    assert app.selectbox(key="choose_experiment").value == furnished.finished
