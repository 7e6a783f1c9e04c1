"""Side by side: any example can be found, opened, read and annotated, whatever the answers hold."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from streamlit.testing.v1 import AppTest

from core.evaluate.browsing import Looking, containing, rows_of, state
from core.evaluate.reading import read_scores
from core.store.database import session
from core.store.lists import experiment
from core.store.tables import Example, Prediction, Score
from pages.widgets.diff import change_diff, word_diff
from pages.widgets.partial import partial_marks
from tests.pages.furnish import NASTY, Furnished
from tests.pages.looking import texts

METRIC = "exact_match"


def view(experiment_id: int, **address: object) -> AppTest:
    """The view alone, as the address opens it."""

    def page(experiment_id: int) -> None:
        from core.store.lists import experiment
        from pages.widgets.outputs import side_by_side

        side_by_side(experiment(experiment_id), False)

    app = AppTest.from_function(page, args=(experiment_id,), default_timeout=30)
    for key, value in address.items():
        app.query_params[key] = str(value)
    app.run()
    assert not app.exception
    assert "unexpected problem" not in texts(app)
    return app


def shown(app: AppTest) -> int:
    """Id of the example on the screen."""
    found = app.query_params["example"]
    return int(found if isinstance(found, str) else found[0])


def ids(experiment_id: int) -> list[int]:
    return [int(example) for example in read_scores(experiment_id).examples]


def fitting(experiment_id: int, **looking: object) -> list[int]:
    scores = read_scores(experiment_id)
    return [int(scores.examples[row]) for row in rows_of(scores, Looking(METRIC, **looking))]  # type: ignore[arg-type]


def answer(experiment_id: int, rung: str, example_id: int) -> Prediction:
    with session(read_only=True) as db:
        return db.scalars(
            select(Prediction).where(
                Prediction.experiment_id == experiment_id,
                Prediction.rung == rung,
                Prediction.example_id == example_id,
            )
        ).one()


def give(experiment_id: int, example_id: int, output: str) -> None:
    """Have every rung answer this, cut at the longest allowed answer."""
    with session() as db:
        db.execute(
            update(Prediction)
            .where(Prediction.experiment_id == experiment_id, Prediction.example_id == example_id)
            .values(output=output, error=None, finish_reason="length")
        )


def test_first_example_with_every_rung_is_shown(furnished: Furnished) -> None:
    app = view(furnished.finished)
    assert shown(app) == ids(furnished.finished)[0]
    said = texts(app)
    assert all(f"**{rung}**" in said for rung in ("base", "prompt", "rag", "lora", r"rag\+lora"))
    assert "Example 1 of 40 examples" in said
    assert "Exact match" in said


def test_keys_lead_on_and_back_and_the_number_anywhere(furnished: Furnished) -> None:
    every = ids(furnished.finished)
    app = view(furnished.finished)
    assert app.button(key="outputs_previous").disabled
    assert app.button(key="outputs_next").proto.shortcut == "right"
    app.button(key="outputs_next").click().run()
    assert shown(app) == every[1]
    app.number_input(key="outputs_number").set_value(40).run()
    assert shown(app) == every[39]
    assert app.button(key="outputs_next").disabled
    app.button(key="outputs_previous").click().run()
    assert shown(app) == every[38]


def test_a_link_opens_its_example_under_its_filter(furnished: Furnished) -> None:
    worse = fitting(furnished.finished, show="worse", of="rag", against="lora")
    assert 1 < len(worse) < 40
    app = view(
        furnished.finished, example=worse[1], show="Worse than another rung", rung="rag", against="lora", diff="lora"
    )
    assert shown(app) == worse[1]
    assert f"Example 2 of {len(worse)} examples, 40 in all" in texts(app)
    assert f"example={worse[1]}" in app.code[0].value
    assert "against=lora" in app.code[0].value


def test_filters_tell_what_they_say(furnished: Furnished) -> None:
    scores = read_scores(furnished.finished)
    value = scores.values[METRIC]
    of = furnished.finished
    assert fitting(of) == [int(i) for i in scores.examples]
    assert fitting(of, show="wrong", of="lora") == [int(i) for i in scores.examples[value["lora"] < 1]]
    assert fitting(of, show="failed", of="base") == [int(scores.examples[0])]
    assert fitting(of, show="failed", of="lora") == []
    assert fitting(of, show="cut") == []
    worse = set(fitting(of, show="worse", of="rag", against="lora"))
    assert worse == set(fitting(of, show="better", of="lora", against="rag"))
    assert worse == {int(i) for i in scores.examples[value["rag"] < value["lora"]]}
    assert fitting(of, show="worse", of="lora", against="lora") == []
    alike = [len({scores.outputs[rung][row] for rung in scores.rungs}) == 1 for row in range(scores.n)]
    assert fitting(of, show="answers differ") == [int(i) for i, a in zip(scores.examples, alike, strict=True) if not a]
    assert fitting(of, group=scores.groups[3]) == [int(scores.examples[3])]
    lowest = fitting(of, order="lowest score")
    mean = {int(e): sum(value[rung][i] for rung in scores.rungs) for i, e in enumerate(scores.examples)}
    assert [mean[e] for e in lowest] == sorted(mean.values())


def test_an_unfinished_comparison_shows_what_there_is(furnished: Furnished) -> None:
    assert len(fitting(furnished.stopped)) == 25
    app = view(furnished.stopped)
    assert texts(app).count("Not answered yet.") == 2


def test_search_looks_into_questions_references_and_answers_in_any_case(furnished: Furnished) -> None:
    of = furnished.finished
    first = ids(of)[0]
    with session() as db:
        db.execute(
            update(Prediction)
            .where(Prediction.experiment_id == of, Prediction.rung == "rag", Prediction.example_id == first)
            .values(output="Der GRÖSSTE Fuß, 100%_sicher")
        )
    assert containing(of, "größte fuss") == {first}
    assert containing(of, "100%_S") == {first}
    assert containing(of, "100__s") == set()
    assert containing(of, "MESSAGE 61:") == {ids(of)[1]}
    app = view(of)
    app.text_input(key="find").set_value("grösste").run()
    assert "Example 1 of 1 example, 40 in all" in texts(app)
    app.text_input(key="find").set_value("nowhere at all").run()
    assert "No example fits" in app.info[0].value


def test_note_is_saved_at_once_and_can_be_taken_back(furnished: Furnished) -> None:
    example = ids(furnished.finished)[2]
    app = view(furnished.finished, example=example)
    app.text_area(key=f"outputs_note_{example}").set_value("Odd **one**").run()
    assert fitting(furnished.finished, show="noted") == [example]
    app.button(key=f"outputs_note_{example}_undo").click().run()
    assert not app.exception
    assert app.text_area(key=f"outputs_note_{example}").value == ""
    assert fitting(furnished.finished, show="noted") == []


def test_an_example_that_ceases_to_fit_stays_until_one_moves(furnished: Furnished) -> None:
    first, second = ids(furnished.finished)[4], ids(furnished.finished)[9]
    with session() as db:
        db.execute(update(Example).where(Example.id.in_([first, second])).values(note="look"))
    app = view(furnished.finished, show="With a note", example=first)
    app.text_area(key=f"outputs_note_{first}").set_value("").run()
    assert shown(app) == first
    assert "does not fit any more" in texts(app)
    app.button(key="outputs_next").click().run()
    assert shown(app) == second


def test_list_shows_scores_and_notes(furnished: Furnished) -> None:
    app = view(furnished.finished, layout="List")
    frame = app.dataframe[0].value
    assert len(frame) == 25
    assert list(frame.columns)[:4] == ["", "number", "question", "reference"]
    assert set(frame["lora"]) <= {0.0, 100.0}
    assert frame["base"].iloc[0] == 0


def test_any_answer_is_shown_as_text(furnished: Furnished) -> None:
    outputs = {
        "": "the reference",
        "  \n ": "base",
        NASTY: "base",
        "<script>alert(1)</script><img src=x onerror=alert(1)>": "the reference",
        "\x00\x1b": "nothing",
    }
    for example, (output, beside) in zip(ids(furnished.finished)[1:], outputs.items(), strict=False):
        give(furnished.finished, example, output)
        app = view(furnished.finished, example=example, diff=beside)
        said = "\n".join(element.value for element in app.markdown)
        assert "<script>" not in said
        assert "**bold**" not in said
        assert "cut at the longest allowed answer" in texts(app)
        assert ("The answer is " in texts(app)) == (not output.strip())


def test_a_very_long_answer_is_cut_until_all_of_it_is_asked_for(furnished: Furnished) -> None:
    example = ids(furnished.finished)[1]
    give(furnished.finished, example, "wort " * 20_000)
    app = view(furnished.finished, example=example)
    assert sum(len(element.value) for element in [*app.markdown, *app.text]) < 60_000
    assert "96,000 more characters" in texts(app)
    app.toggle(key=f"whole_{answer(furnished.finished, 'lora', example).id}").set_value(True).run()
    assert any(len(element.value) >= 99_999 for element in app.text)


def test_prompt_is_shown_as_it_was_sent(furnished: Furnished) -> None:
    example = ids(furnished.finished)[1]
    prediction = answer(furnished.finished, "rag", example)
    app = view(furnished.finished, example=example)
    assert "Passages that may help" not in texts(app)
    app.session_state[f"sent_{prediction.id}"] = True
    app.run()
    assert "Passages that may help" in texts(app)


def test_repeated_answers_are_all_there(furnished: Furnished) -> None:
    example = ids(furnished.finished)[1]
    given = answer(furnished.finished, "lora", example)
    with session() as db:
        for sample in (1, 2):
            db.add(
                Prediction(
                    experiment_id=given.experiment_id,
                    rung="lora",
                    example_id=example,
                    sample=sample,
                    output=f"Repeat number {sample}",
                )
            )
    app = view(furnished.finished, example=example, diff="nothing")
    assert "Repeat number 2" not in texts(app)
    app.segmented_control(key="sample_lora").set_value(2).run()
    assert "Repeat number 2" in texts(app)


def test_answers_of_before_scores_were_stored_are_scored_when_looked_at(furnished: Furnished) -> None:
    with session() as db:
        db.execute(delete(Score))
    assert not read_scores(furnished.finished).scored[METRIC]["lora"].any()
    app = view(furnished.finished)
    assert "Exact match 0 %" in texts(app)
    assert read_scores(furnished.finished).scored[METRIC]["lora"].all()


def test_an_example_opened_from_elsewhere_is_shown_without_the_filters_of_before(furnished: Furnished) -> None:
    def page(experiment_id: int, example_id: int) -> None:
        import streamlit as st

        from core.store.lists import experiment
        from pages.widgets.outputs import open_example, side_by_side

        if st.button("Over there", key="there"):
            open_example(example_id, "worse", "rag", "lora")
            st.rerun()
        side_by_side(experiment(experiment_id), False)

    worse = fitting(furnished.finished, show="worse", of="rag", against="lora")
    app = AppTest.from_function(page, args=(furnished.finished, worse[2]), default_timeout=30).run()
    app.text_input(key="find").set_value("pier 3").run()
    app.button(key="there").click().run()
    assert not app.exception
    assert shown(app) == worse[2]
    assert f"Example 3 of {len(worse)} examples" in texts(app)
    assert app.text_input(key="find").value == ""


def test_partial_scores_are_over_what_is_answered(furnished: Furnished) -> None:
    marks = {mark.rung: mark for mark in partial_marks(experiment(furnished.stopped))}
    values = read_scores(furnished.stopped).values[METRIC]["rag"][:25]
    assert marks["rag"].score == values.mean()
    assert marks["rag"].interval is not None
    assert marks["rag"].interval[0] <= values.mean() <= marks["rag"].interval[1]
    assert "25 of 40" in marks["rag"].note
    assert marks["lora"].score is None
    assert marks["lora"].faded


def test_read_scores_are_stale_as_soon_as_an_answer_comes(furnished: Furnished) -> None:
    before = state(furnished.stopped)
    assert state(furnished.stopped) == before
    with session() as db:
        db.add(
            Prediction(
                experiment_id=furnished.stopped, rung="lora", example_id=ids(furnished.stopped)[30], output="New"
            )
        )
    assert state(furnished.stopped) != before


def test_differences_join_over_blanks_and_keep_indents() -> None:
    assert word_diff("the quick brown fox", "the slow red fox") == (
        "the :red-background[slow red]:green-background[~~quick brown~~] fox"
    )
    assert word_diff("", "new") == ":red-background[new]"
    assert word_diff("old", "") == ":green-background[~~old~~]"
    assert word_diff("a\n\n    b", "a\n\n    b") == "a  \n  \n\u00a0\u00a0\u00a0\u00a0b"
    assert change_diff("one two", "one 2") == "one :red-background[~~two~~]:green-background[2]"
    assert "<b>" not in word_diff("<b>x</b>", "<b>y</b>").replace(r"\<b\>", "")
