"""The voting booth: blind until the end, by keyboard, and honest about what the votes say."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from core.evaluate.ballots import next_pair
from core.evaluate.votes import voters
from core.store.database import session
from core.store.tables import Prediction, Vote
from tests.pages.furnish import NASTY, Furnished
from tests.pages.looking import Open, texts

RUNGS = ("lora", "rag+lora")
SHORTCUTS = {"A is better": "A", "Equally good": "E", "B is better": "B", "Skip": "S", "Undo": "U"}


def booth(open_page: Open, experiment: int, voter: str = "Ada") -> AppTest:
    app = open_page("compare", experiment=experiment, part="Blind vote")
    return called(app, voter)


def called(app: AppTest, voter: str) -> AppTest:
    """The page after typing a name, which AppTest can only choose among options."""
    if any(button.label == "Someone else" for button in app.button):
        press(app, "Someone else")
    box = app.selectbox(key="vote_name")
    if voter not in box.options:
        box.options.append(voter)
    box.set_value(voter).run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


@pytest.fixture
def unlike(furnished: Furnished) -> int:
    """The finished experiment with answers of two rungs that differ everywhere, one of them full of markup."""
    with session() as db:
        for rung in RUNGS:
            mine = (Prediction.experiment_id == furnished.finished) & (Prediction.rung == rung)
            db.execute(sa.update(Prediction).where(mine).values(output=f"said by {len(rung)} {NASTY}", error=None))
    return furnished.finished


def stored() -> list[tuple[str, bool]]:
    with session(read_only=True) as db:
        return [(vote.choice, vote.swapped) for vote in db.scalars(sa.select(Vote).order_by(Vote.id))]


def test_ballot_says_nothing_of_rungs_and_shows_markup_as_text(open_page: Open, unlike: int) -> None:
    app = booth(open_page, unlike)
    said = texts(app)
    assert "Answer A" in said and "0 of 40 decided" in str(app.get("progress")[0].proto)
    assert [text.value for text in app.text if NASTY in text.value and "said by" in text.value]
    assert "lora" not in said and "%" not in said
    assert not app.dataframe


def test_every_choice_has_a_key(open_page: Open, unlike: int) -> None:
    app = booth(open_page, unlike)
    assert {b.label: b.proto.shortcut.upper() for b in app.button if b.label in SHORTCUTS} == SHORTCUTS


def test_votes_are_stored_undone_and_revealed_at_the_end(open_page: Open, unlike: int) -> None:
    app = booth(open_page, unlike)
    expected = []
    for label, side in (("A is better", "left"), ("B is better", "right"), ("Equally good", "tie")):
        ballot = next_pair(unlike, "Ada")
        assert ballot is not None
        choice = "tie" if side == "tie" else "b" if (side == "left") == ballot.swapped else "a"
        expected.append((choice, ballot.swapped))
        press(app, label)
    assert stored() == expected
    press(app, "Undo")
    assert stored() == expected[:2]
    press(app, "Skip")
    assert stored() == expected[:2]
    press(app, "Finish and see results")
    said = texts(app)
    assert "rag+lora" in said.replace("\\", "") and "Ada 2" in said
    assert "not known yet" in said
    revealed = app.dataframe[-1].value
    assert set(revealed["A was"]) | set(revealed["B was"]) == set(RUNGS)
    press(app, "Go on voting")
    assert "Answer A" in texts(app)


def test_several_voters_and_their_agreement(open_page: Open, unlike: int) -> None:
    app = booth(open_page, unlike)
    for _ in range(3):
        press(app, "Equally good")
    called(app, "Bob")
    assert "0 of 40 decided" in str(app.get("progress")[0].proto)
    for label in ("A is better", "Equally good", "Equally good"):
        press(app, label)
    press(app, "Finish and see results")
    assert voters(unlike) == {"Ada": 3, "Bob": 3}
    assert "same choice on 67%" in texts(app).replace("\\", "")


def test_same_answers_need_no_vote(open_page: Open, furnished: Furnished) -> None:
    app = booth(open_page, furnished.finished)
    assert "more need no vote: both answers are the same" in str(app.get("progress")[0].proto)


def test_without_a_name_nothing_is_asked(open_page: Open, unlike: int) -> None:
    app = open_page("compare", experiment=unlike, part="Blind vote")
    assert "without knowing which rung" in texts(app)
    assert not [button for button in app.button if button.label == "A is better"]
