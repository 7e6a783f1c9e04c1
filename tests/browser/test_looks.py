"""Every page on a screen and on a phone, light and dark, with and without content. The pictures are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import serving

PAGES = ("", "decide", "data", "train", "compare", "serve", "jobs")
FULL = {
    "home": "",
    "decide": "decide",
    "decide-answer": "decide?prompt_tried=exhausted&gap=both&examples=30&budget_usd=5000&managed_access=other",
    "decide-confirmed": "decide?prompt_tried=exhausted&gap=behavior",
    "data": "data",
    "documents": "data?tab=Documents",
    "train": "train?run=2",
    "train-new": "train?new=1",
    "compare": "compare?experiment=1",
    "compare-sides": "compare?experiment=1&part=Side+by+side",
    "compare-vote": "compare?experiment=1&part=Blind+vote",
    "compare-time": "compare?experiment=1&part=Over+time",
    "compare-away": "compare?experiment=1&part=Take+away",
    "compare-stopped": "compare?experiment=2",
    "compare-new": "compare?new=1",
    "serve": "serve",
    "jobs": "jobs",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_empty_pages(width: int, scheme: str, empty_app: str, visit) -> None:
    tab = visit(width, scheme)
    for name in PAGES:
        tab.open(f"{empty_app}/{name}")
        tab.shoot(f"empty-{name or 'home'}-{width}-{scheme}")
        tab.assert_sound()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_full_pages(width: int, scheme: str, full_app: str, visit) -> None:
    tab = visit(width, scheme)
    for name, path in FULL.items():
        tab.open(f"{full_app}/{path}")
        tab.shoot(f"full-{name}-{width}-{scheme}")
        tab.assert_sound()


def test_first_page_draws_the_ladder_beside_a_button_that_can_be_pressed(empty_app: str, visit) -> None:
    """How soon is measured by `python -m bench.first_page`; time never decides a test."""
    tab = visit()
    tab.open(empty_app)
    tab.page.get_by_role("button", name="Start the demo").click(trial=True)
    tab.page.locator(".js-plotly-plot").wait_for()


def test_a_link_to_any_page_works_first_in_a_new_server(tmp_path: Path, visit) -> None:
    with serving(tmp_path / "home") as address:
        tab = visit()
        tab.open(f"{address}/train")
        assert tab.page.get_by_role("link", name="Home").count() == 1
        assert tab.page.get_by_role("heading", name="Train").count() == 1
        tab.assert_sound()


def test_text_of_others_is_never_markup(full_app: str, visit) -> None:
    tab = visit()
    tab.open(f"{full_app}/compare?experiment=1&part=Side+by+side")
    main = tab.page.locator('[data-testid="stMain"]')
    main.get_by_text("<b>b</b>").first.wait_for()
    assert main.locator('a[href*="example.com"]').count() == 0
    assert main.locator(".katex").count() == 0
    assert main.locator("strong", has_text="bold").count() == 0
