"""The wizard on the page: one question at a time, state in the address, the answer below, and on to Compare."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core.decide.rulebook import rulebook
from tests.pages.furnish import ANSWERS, Furnished
from tests.pages.looking import Open, texts


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


def answer(app: AppTest, question: str, value: object) -> AppTest:
    app.radio(key=f"answer_{question}").set_value(value)
    return press(app, "Next")


def asked(app: AppTest) -> str:
    """The question that is on the page."""
    (radio,) = (radio for radio in app.radio if str(radio.key).startswith("answer_"))
    return str(radio.key).removeprefix("answer_")


def test_one_question_at_a_time_until_the_rung(open_page: Open) -> None:
    app = open_page("decide")
    assert asked(app) == "prompt_tried" and "Question 1" in progress(app)
    answer(app, "prompt_tried", "exhausted")
    answer(app, "gap", "behavior")
    assert asked(app) == "behavior_kind"
    answer(app, "behavior_kind", "format")
    answer(app, "behavior_changes_often", False)
    assert asked(app) == "examples"
    answer(app, "examples", 500.0)
    for question in ("changes_often", "private_documents", "needs_citations", "data_may_leave"):
        answer(app, question, False)
    assert asked(app) == "gpu_gb"
    answer(app, "gpu_gb", 24.0)
    assert "Try lora first" in texts(app)
    assert "All questions that matter are answered" in progress(app)
    assert dict(app.query_params)["behavior_kind"] == "format"


def progress(app: AppTest) -> str:
    return "\n".join(str(bar.proto.text) for bar in app.get("progress"))


def test_not_sure_is_always_allowed_and_reaches_an_end(open_page: Open) -> None:
    app = open_page("decide")
    for _ in rulebook().questions:
        if not any(str(radio.key).startswith("answer_") for radio in app.radio):
            break
        press(app, "Not sure")
    assert "All questions that matter are answered" in progress(app)
    assert "Try prompt first" in texts(app) and "Confidence low" in texts(app)


def test_back_opens_the_question_before_with_its_answer(open_page: Open) -> None:
    app = open_page("decide", prompt_tried="some", gap="both")
    press(app, "Back")
    assert asked(app) == "gap" and app.radio(key="answer_gap").value == "both"
    press(app, "Back")
    assert asked(app) == "prompt_tried" and app.radio(key="answer_prompt_tried").value == "some"
    answer(app, "prompt_tried", "exhausted")
    assert asked(app) == "behavior_kind"
    assert list(app.query_params)[:2] == ["prompt_tried", "gap"]


def test_next_without_an_answer_says_what_to_do(open_page: Open) -> None:
    app = press(open_page("decide"), "Next")
    assert "Choose an answer" in texts(app) and asked(app) == "prompt_tried"


def test_an_exact_number_counts_more_than_the_buttons(open_page: Open) -> None:
    app = open_page("decide", gap="knowledge", changes_often="false", needs_citations="false")
    while asked(app) != "corpus_tokens":
        press(app, "Not sure")
    app.number_input(key="exact_corpus_tokens").set_value(199_999.0)
    press(app, "Next")
    assert app.query_params["corpus_tokens"] == "199999"
    assert "long\\-context" in texts(app)
    # Going back, the figure stands in its field; a button pressed now counts more than a figure given before.
    app.query_params["at"] = "corpus_tokens"
    app.run()
    assert app.number_input(key="exact_corpus_tokens").value == 199_999
    answer(app, "corpus_tokens", 2_000_000.0)
    assert app.query_params["corpus_tokens"] == "2000000"
    assert "Try rag first" in texts(app)


def test_a_link_brings_the_answers_along(open_page: Open) -> None:
    app = open_page("decide", gap="knowledge", changes_often="true")
    assert "Try rag first" in texts(app)
    labels = [button.label for button in app.button]
    assert any(label.startswith("Gap") for label in labels) and any(
        label.startswith("Facts change") for label in labels
    )


def test_a_damaged_link_loses_only_what_is_damaged(open_page: Open) -> None:
    app = open_page("decide", gap="knowledge", budget_usd="lots", gpu_gb="-4", at="nonsense", changes_often="perhaps")
    said = texts(app)
    assert "not a number" in said and "outside 0 to" in said and "neither true nor false" in said
    assert "So far: rag" in said


def test_start_over_can_be_undone(open_page: Open) -> None:
    app = open_page("decide", gap="knowledge", changes_often="true")
    press(app, "Start over")
    assert "gap" not in app.query_params and "No answers yet" in texts(app)
    press(app, "Undo")
    assert app.query_params["gap"] == "knowledge" and app.query_params["changes_often"] == "true"


def test_who_comes_back_from_another_page_finds_the_answers(open_page: Open) -> None:
    app = open_page("decide", gap="knowledge", changes_often="true", **{"cost.months": "24"})
    app.switch_page("pages/home.py").run()
    app.query_params.clear()
    app.switch_page("pages/decide.py").run()
    assert "Try rag first" in texts(app)
    assert app.query_params["gap"] == "knowledge" and app.query_params["cost.months"] == "24"


def test_not_sure_takes_back_what_a_sentence_seemed_to_say(open_page: Open) -> None:
    app = open_page("decide")
    app.text_area[0].set_value("Our tone of voice never holds, however often we rewrite the prompt.")
    press(app, "Read it")
    assert "So far: lora" in texts(app)
    for question in ("gap", "prompt_tried"):
        app.query_params["at"] = question
        app.run()
        press(app, "Not sure")
    assert "So far: prompt" in texts(app)


def test_an_emptied_description_is_forgotten_with_what_it_filled_in(open_page: Open) -> None:
    app = open_page("decide", data_may_leave="false")
    app.text_area[0].set_value("It does not know our prices, which change every week.")
    press(app, "Read it")
    assert app.query_params["gap"] == "knowledge"
    app.text_area[0].set_value("")
    press(app, "Read it")
    assert "gap" not in app.query_params and app.query_params["data_may_leave"] == "false"
    assert "Reads like" not in texts(app)


def test_an_unsure_reading_fills_in_nothing(open_page: Open) -> None:
    app = open_page("decide")
    app.text_area[0].set_value("Công ty chúng tôi bán bánh mì ở Hà Nội và trợ lý trả lời sai")
    press(app, "Read it")
    assert "too unsure to fill in anything" in texts(app) and "gap" not in app.query_params


def test_a_missed_latency_and_a_cheaper_way_are_said(open_page: Open) -> None:
    address = {"prompt_tried": "exhausted", "gap": "behavior", "latency_s": "0.3", "budget_usd": "80"}
    said = texts(open_page("decide", **address))
    assert "within 0.3 s was wanted" in said
    assert "managed would be cheaper at this volume" in said


@pytest.mark.parametrize("part", ["The answer", "The money", "How it works"])
@pytest.mark.parametrize(
    "address",
    [
        {"gap": "knowledge", "corpus_tokens": "5000", "changes_often": "false"},
        {"prompt_tried": "exhausted", "gap": "both", "budget_usd": "5000", "managed_access": "other"},
        {"prompt_tried": "exhausted", "gap": "behavior", "gpu_gb": "8", "data_may_leave": "false"},
        {"gap": "unsure"},
    ],
)
def test_every_part_is_drawn(open_page: Open, part: str, address: dict[str, str]) -> None:
    app = open_page("decide", **address)
    app.segmented_control(key="decide_view").set_value(part).run()
    assert not app.exception and "unexpected problem" not in texts(app)


def test_a_sentence_fills_in_answers_that_can_be_changed(open_page: Open) -> None:
    app = open_page("decide")
    app.session_state["decide_read"] = {}
    area = app.text_area[0]
    area.set_value("Lawyers want answers that cite the clause in our own contracts. <b>x</b> $y$")
    press(app, "Read it")
    said = texts(app)
    assert "Reads like **knowledge is missing" in said
    assert app.query_params["gap"] == "knowledge" and app.query_params["needs_citations"] == "true"
    assert "<b>" not in said.replace("\\<b\\>", "")
    app.query_params["at"] = "gap"
    app.run()
    answer(app, "gap", "both")
    assert app.query_params["gap"] == "both"
    # Reading another sentence keeps what the person said, and takes back what the first sentence filled in.
    app.text_area[0].set_value("The bot does not know our opening hours, which change every week.")
    press(app, "Read it")
    assert app.query_params["gap"] == "both" and "needs_citations" not in app.query_params


def test_an_empty_sentence_is_said(open_page: Open) -> None:
    app = press(open_page("decide"), "Read it")
    assert "Write a sentence first" in texts(app)


def test_no_words_are_no_sentence(open_page: Open) -> None:
    app = open_page("decide")
    app.text_area[0].set_value("12345 ???")
    press(app, "Read it")
    assert any("no sentence to read" in error.proto.title for error in app.error)


def test_the_verdict_is_shown_beside_the_advice_it_confirms(open_page: Open, furnished: Furnished) -> None:
    app = open_page("decide", **ANSWERS)
    assert "lora, which confirms the advice" in texts(app)


def test_the_same_verdict_overturns_other_advice(open_page: Open, furnished: Furnished) -> None:
    """An experiment is shown beside the answers that led to it, and only there."""
    from core.store.database import session
    from core.store.tables import Experiment

    with session() as db:
        experiment = db.get_one(Experiment, furnished.finished)
        experiment.spec = {**experiment.spec, "answers": {"gap": "knowledge", "changes_often": True}}
    assert "which overturns the advice" in texts(open_page("decide", gap="knowledge", changes_often="true"))
    # One more answer than led to it does not hide it; others than led to it do.
    assert "overturns" in texts(open_page("decide", gap="knowledge", changes_often="true", private_documents="true"))
    assert "Measured" not in texts(open_page("decide", **ANSWERS))


def test_a_verdict_says_nothing_about_a_rung_that_was_not_measured(open_page: Open, furnished: Furnished) -> None:
    from core.store.database import session
    from core.store.tables import Experiment

    with session() as db:
        experiment = db.get_one(Experiment, furnished.finished)
        experiment.spec = {**experiment.spec, "answers": {"gap": "knowledge"}}
    app = open_page("decide", gap="knowledge", corpus_tokens="5000", changes_often="false", needs_citations="false")
    assert "long\\-context" in texts(app) and "Measured: cannot tell yet" in texts(app)


def test_advice_goes_along_into_compare_and_comes_back_with_the_experiment(
    open_page: Open, furnished: Furnished, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(
        "compare",
        new=1,
        rungs="base,prompt,lora",
        **{"decide.prompt_tried": "exhausted", "decide.gap": "behavior"},
        **{"decide.gpu_gb": "8"},
    )
    assert app.session_state["compare_rungs"] == ["base", "prompt", "lora"]
    assert "From Decide: try qlora first" in texts(app)
    assert next(box for box in app.selectbox if box.label == "Training method").value == "qlora"
    started = []
    monkeypatch.setattr("pages.widgets.compare_form._start", lambda wanted: started.append(wanted) or 1 / 0)
    press(app, "Start comparing")
    (wanted,) = started
    assert wanted.plan.answers == {"prompt_tried": "exhausted", "gap": "behavior", "gpu_gb": 8}
    assert wanted.recipe.method == "qlora"


def test_advice_can_be_left_out_of_compare(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1, rungs="base,prompt", **{"decide.gap": "knowledge"})
    press(app, "Compare without it")
    assert "From Decide" not in texts(app) and "decide.gap" not in app.query_params
