"""What people do: bring data that is broken, bring it mended, build, train, stop, and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.decide.rulebook import rulebook
from tests.browser.conftest import Visitor, serving
from tests.pages.furnish import jsonl

BROKEN = jsonl(3) + b'\n{not json\n{"messages": []}\n'


@pytest.fixture
def address(tmp_path: Path):
    with serving(tmp_path / "home") as found:
        yield found


def upload(tab: Visitor, files: list[Path], nth: int = 0) -> None:
    tab.page.locator('input[type="file"]').nth(nth).set_input_files([str(file) for file in files])
    tab.page.get_by_text(files[0].name).first.wait_for()


def test_broken_file_then_mended_file_then_training_started_and_stopped(address: str, visit, tmp_path: Path) -> None:
    broken, good = tmp_path / "broken.jsonl", tmp_path / "good.jsonl"
    broken.write_bytes(BROKEN)
    good.write_bytes(jsonl(80))
    tab = visit()
    tab.open(f"{address}/data")
    upload(tab, [broken])
    tab.page.get_by_text("2 errors to mend first").wait_for()
    assert tab.page.get_by_role("button", name="Import", exact=True).is_disabled()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Download this list (CSV)").click()
    listed = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert [line.split(",")[0] for line in listed.splitlines()] == ["line", "4", "5"]
    tab.shoot("journey-broken-file")

    tab.open(f"{address}/data")
    upload(tab, [good])
    tab.page.get_by_role("button", name="Import", exact=True).click()
    tab.page.get_by_text("Suggested metric").wait_for()
    tab.page.get_by_role("button", name="Train on it").click()
    tab.page.get_by_role("button", name="Start training").click()
    tab.page.get_by_role("button", name="Pause", exact=True).wait_for()
    tab.settle()
    assert "run=1" in tab.page.url
    tab.page.get_by_role("link", name="Jobs").click()
    tab.page.get_by_text("1 running").wait_for()
    tab.shoot("journey-running")
    tab.page.get_by_role("button", name="Pause", exact=True).click()
    tab.page.get_by_text("Pausing").first.wait_for()
    # Loading a model is not interrupted, so the stop may be honoured only when that is done.
    tab.page.get_by_role("button", name="Resume").wait_for(timeout=240_000)
    assert tab.page.get_by_text("Paused at").count() == 1
    tab.shoot("journey-stopped")
    tab.assert_sound()


def test_documents_become_an_index_that_answers(address: str, visit, tmp_path: Path) -> None:
    notes = []
    for i, text in enumerate(["The ramp opens at six.", "Dogs travel free on deck.", "Refunds take nine days."]):
        notes.append(tmp_path / f"note-{i}.md")
        notes[-1].write_text(f"# Note {i}\n\n{text}\n")
    tab = visit()
    tab.open(f"{address}/data?tab=Documents")
    upload(tab, notes)
    tab.page.get_by_role("button", name="Build the index").click()
    tab.page.get_by_role("textbox", name="Question").wait_for()
    tab.page.get_by_role("textbox", name="Question").fill("How long does it take to get my money back?")
    tab.page.get_by_role("button", name="Find passages").click()
    tab.page.get_by_text("cosine similarity").first.wait_for()
    assert tab.page.get_by_text("note-").first.inner_text() == "note-2.md · Note 2"
    tab.shoot("journey-index")
    tab.assert_sound()


def test_sentence_and_wizard_lead_to_a_rung_a_record_and_compare(full_app: str, visit) -> None:
    tab = visit()
    tab.open(f"{full_app}/decide")
    tab.page.get_by_role("textbox", name="What is wrong with the answers?").fill(
        "Tickets must get one of our nine labels. With twelve examples in the prompt it stalls at 70 percent."
    )
    tab.page.get_by_role("button", name="Read it").click()
    # The reader is loaded now, which takes a while on a busy machine.
    tab.page.get_by_text("Reads like").wait_for()
    tab.settle()
    tab.shoot("journey-diagnosis")
    for question, answer in (
        ("behavior_changes_often", "No"),
        ("examples", "Several hundred (500 examples)"),
        ("changes_often", "No"),
        ("private_documents", "No"),
        ("needs_citations", "No"),
        ("data_may_leave", "No"),
        ("gpu_gb", "24 GB"),
    ):
        asked = tab.page.get_by_role("radiogroup", name=rulebook().question(question).text)
        asked.get_by_text(answer, exact=True).click()
        tab.page.get_by_test_id("stForm").nth(1).get_by_role("button", name="Next").click()
        # Until it is gone, the old question stands beside the new one for a moment.
        asked.wait_for(state="detached")
        tab.settle()
    tab.page.get_by_role("heading", name="Try lora first").wait_for()
    tab.page.get_by_text("All questions that matter are answered.").wait_for()
    tab.shoot("journey-advice")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Decision record (HTML)").click()
    record = Path(download.value.path()).read_text(encoding="utf-8")
    assert "<h1" in record and "lora" in record and "<script" not in record

    link = tab.page.url
    other = visit()
    other.open(link)
    other.page.get_by_role("heading", name="Try lora first").wait_for()

    tab.page.get_by_role("button", name="Test this on my data").click()
    tab.page.get_by_text("From Decide: try lora first").wait_for()
    tab.page.get_by_text("Before you start").wait_for()
    tab.settle()
    tab.shoot("journey-advice-compare")
    assert "rungs=base%2Cprompt%2Clora" in tab.page.url
    tab.assert_sound()


def test_the_verdict_stands_beside_the_advice_that_led_to_it(full_app: str, visit) -> None:
    tab = visit()
    tab.open(f"{full_app}/decide?prompt_tried=exhausted&gap=behavior")
    tab.page.get_by_text("which confirms the advice").wait_for()
    tab.settle()
    tab.shoot("journey-advice-confirmed")
    tab.assert_sound()


def test_answers_are_read_with_the_arrow_keys_and_the_address_is_a_permanent_link(full_app: str, visit) -> None:
    tab = visit()
    tab.open(f"{full_app}/compare?experiment=1&part=Side+by+side")
    tab.page.get_by_text("Example 1 of").wait_for()
    tab.page.keyboard.press("ArrowRight")
    tab.page.get_by_text("Example 2 of").wait_for()
    tab.page.keyboard.press("ArrowRight")
    tab.page.get_by_text("Example 3 of").wait_for()
    tab.page.keyboard.press("ArrowLeft")
    tab.page.get_by_text("Example 2 of").wait_for()
    tab.settle()
    link = tab.page.url
    other = visit()
    other.open(link)
    other.page.get_by_text("Example 2 of").wait_for()
    tab.assert_sound()


def test_blind_vote_by_keyboard_ends_with_the_rungs_revealed(full_app: str, visit) -> None:
    tab = visit()
    tab.open(f"{full_app}/compare?experiment=1&part=Blind+vote")
    name = tab.page.get_by_role("combobox", name="Your name")
    name.fill("Ada")
    name.press("Enter")
    tab.page.get_by_text("Voting as").wait_for()
    decided = tab.page.get_by_text("decided", exact=False).first
    decided.wait_for()
    assert "0 of" in decided.inner_text()
    main = tab.page.locator('[data-testid="stMain"]')
    assert main.get_by_text("Answer A", exact=True).count() == 1
    for key in ("a", "e"):
        # A key counts for the ballot that is on the screen, and only once all of it is.
        tab.settle()
        before = decided.inner_text()
        tab.page.keyboard.press(key)
        tab.page.wait_for_function("(said) => !document.body.innerText.includes(said)", arg=before)
    assert "2 of" in decided.inner_text()
    tab.page.keyboard.press("u")
    tab.page.get_by_text("1 of", exact=False).first.wait_for()
    tab.shoot("journey-blind-vote")
    tab.page.get_by_role("button", name="Finish and see results").click()
    tab.page.get_by_role("button", name="Go on voting").wait_for()
    tab.settle()
    tab.shoot("journey-blind-vote-results")
    tab.assert_sound()
