"""Charts that grow while someone looks at them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from core.store.database import session
from core.store.tables import Job
from tests.browser.conftest import serving
from tests.pages.furnish import furnish, measure

PLOT = "document.querySelector('.st-key-loss_{} .js-plotly-plot')"
STEPS = "plot._fullData.find((trace) => trace.name.includes('smoothed')).x.length"


def test_new_points_arrive_in_the_same_chart_and_leave_the_view_alone(browser: Browser, home: Path) -> None:
    """Marked and zoomed into before a step comes: afterwards it has the step, and both are still there."""
    job_id = furnish().train_job
    with session() as db:
        # Without a process that could be found dead.
        db.execute(update(Job).where(Job.id == job_id).values(status="running", result={}, total=200))
    plot = PLOT.format(job_id)
    with serving(home) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(f"{address}/train?run={job_id}")
        expect(page.get_by_text("Sample answers")).to_be_visible(timeout=60_000)
        page.wait_for_function(f"() => {{ const plot = {plot}; return plot?._fullData && {STEPS} === 120 }}")
        page.evaluate(
            f"() => {{ const plot = {plot}; plot.mark = true; Plotly.relayout(plot, 'xaxis.range', [40, 80]) }}"
        )
        measure(job_id, range(121, 131), 200)
        page.wait_for_function(f"() => {{ const plot = {plot}; return {STEPS} === 130 }}", timeout=20_000)
        assert page.evaluate(f"() => {plot}.mark")
        assert page.evaluate(f"() => {plot}._fullLayout.xaxis.range") == pytest.approx([40, 80])
        # Streamlit's own frame follows: resized, the chart still has every point.
        page.set_viewport_size({"width": 900, "height": 1000})
        page.wait_for_function(f"() => {plot}._fullLayout.width < 800")
        page.wait_for_timeout(2000)
        assert page.evaluate(f"() => {{ const plot = {plot}; return {STEPS} }}") == 130
        page.close()
