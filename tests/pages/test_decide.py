"""Answers on the page lead to a rung, and on to Compare."""

from __future__ import annotations

import pytest

from tests.pages.looking import Open, texts


def answer(app, **answers: str):
    for question, value in answers.items():
        app.radio(key=f"decide_{question}").set_value(value)
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("answers", "rung"),
    [
        ({"prompt": "works", "gap": "both", "facts": "yes", "examples": "many"}, "prompt"),
        ({"prompt": "not_enough", "gap": "knowledge", "facts": "no", "examples": "few"}, "rag"),
        ({"prompt": "not_enough", "gap": "behaviour", "facts": "no", "examples": "many"}, "lora"),
        ({"prompt": "untried", "gap": "both", "facts": "yes", "examples": "some"}, r"rag\+lora"),
    ],
)
def test_answers_lead_to_a_rung(open_page: Open, answers: dict[str, str], rung: str) -> None:
    app = answer(open_page("decide"), **answers)
    assert f"Try {rung} first" in texts(app)


def test_unanswered_questions_are_counted(open_page: Open) -> None:
    app = answer(open_page("decide"), prompt="works")
    assert "3 of 4 questions left" in texts(app)


def test_advice_preselects_the_rungs_to_compare(open_page: Open, furnished: object) -> None:
    app = open_page("compare", new=1, rungs="base,prompt,lora")
    assert app.session_state["compare_rungs"] == ["base", "prompt", "lora"]
