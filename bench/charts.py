"""How live the charts are: from a step's end to its point in the browser, and how long a million points take to draw.

    python -m bench.charts [--steps 40] [--points 1000000]

A real job reports a step every 0.3 s through its recorder; headless Chromium watches it on the Train page, then on a
page written the plain way: every two seconds, all points through `st.plotly_chart`. A step has arrived when the data
of the chart in the page holds it. Needs chromium and requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from bench.first_page import REPOSITORY, _serving
from bench.machine import describe
from core.jobs import kinds, queue
from core.jobs.context import JobContext
from core.jobs.run import run_foreground
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Metric
from core.train.recipe import Recipe

PACE_S = 0.3
SPEC = {"dataset_id": 0, "recipe": Recipe().model_dump(mode="json"), "name": "bench"}
PEER = """
import plotly.graph_objects as go
import streamlit as st
from core.jobs import queue

@st.fragment(run_every=2)
def charts():
    rows = queue.metrics(int(st.query_params["run"]))
    for name in dict.fromkeys(row[2] for row in rows):
        points = [(row[1], row[3]) for row in rows if row[2] == name]
        figure = go.Figure(go.Scatter(x=[x for x, _ in points], y=[y for _, y in points]))
        st.plotly_chart(figure, key=f"{name}_{st.query_params['run']}")

charts()
"""
# Notes for every step when the chart first held it; looks a hundred times a second.
WATCH = """(key) => {
  window.arrived = {}; window.rebuilt = -1; let last = null
  setInterval(() => {
    const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`)
    if (!plot?._fullData) return
    if (plot !== last) { window.rebuilt += 1; last = plot }
    const now = Date.now() / 1000
    for (const x of plot._fullData[0].x) window.arrived[x] ??= now
  }, 10)
}"""
DRAW = """async ([data, layout]) => {
  const place = document.body.appendChild(document.createElement("div"))
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
  const begun = performance.now()
  await Plotly.newPlot(place, data, layout)
  await painted()
  const drawn = performance.now() - begun
  place.remove()
  return drawn
}"""
ALL = "(n) => [{ x: Float64Array.from({ length: n }, (_, i) => i), y: Float64Array.from({ length: n }, Math.random) }]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--paced", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paced:
        kinds.HANDLERS["train"] = f"{__spec__.name if __spec__ else __name__}:report"
        run_foreground("train", SPEC | {"steps": options.paced}, title="Train: bench")
        return
    print(describe())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ |= {"LOWEST_RUNG_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)}
        get_settings.cache_clear()
        peer = folder / "peer.py"
        peer.write_text(PEER, encoding="utf-8")
        ours = stack.enter_context(_serving(REPOSITORY / "app.py", folder)) + "/train"
        plain = stack.enter_context(_serving(peer, folder))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, address in (("the Train page", ours), ("plain page, every 2 s", plain)):
            _latency(name, address, browser, options.steps)
        _many(ours, browser, options.points)
        browser.close()


def report(context: JobContext) -> dict[str, Any]:
    """A training without its arithmetic: what the trainer records at a step, every 0.3 s."""
    steps = context.spec["steps"]
    context.progress(0, steps, "Training")
    for step in range(1, steps + 1):
        context.check_stop()
        time.sleep(PACE_S)
        context.progress(step, steps, "Training")
        context.metric(
            step,
            loss=3 * math.exp(-step / 30),
            learning_rate=5e-4,
            grad_norm=1.0,
            epoch=step / steps,
            tokens=400.0,
            tokens_per_s=1300.0,
            memory_gb=2.0,
            cpu_percent=180.0,
        )
    return {}


def _latency(name: str, address: str, browser: Browser, steps: int) -> None:
    """Seconds from a step's report to its point; the first few, while the page opens, do not count."""
    before = {job.id for job in queue.jobs()}
    runner = subprocess.Popen([sys.executable, "-m", "bench.charts", "--paced", "100000"])
    try:
        while not (new := [job for job in queue.jobs() if job.id not in before]) or not queue.metrics(new[0].id):
            time.sleep(0.2)
        job_id = new[0].id
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        received: list[int] = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
        page.goto(f"{address}?run={job_id}")
        page.wait_for_selector(f".st-key-loss_{job_id} .js-plotly-plot", timeout=60_000)
        page.evaluate(WATCH, f"loss_{job_id}")
        page.wait_for_timeout(3000)
        begun, received[:] = time.time(), []
        page.wait_for_timeout(steps * PACE_S * 1000)
        sent = sum(received)
        reported = {step: at for _, step, what, _, at in queue.metrics(job_id) if what == "loss" and at > begun}
        page.wait_for_timeout(5000)
        arrived = {int(step): at for step, at in page.evaluate("window.arrived").items()}
        waits = [arrived[step] - at for step, at in reported.items()]
        rebuilt = page.evaluate("window.rebuilt")
        page.close()
    finally:
        runner.terminate()
        runner.wait(30)
    print(
        f"{name}: step to chart {statistics.median(waits):.2f} s at the median, "
        f"{statistics.quantiles(waits, n=10)[-1]:.2f} s at the 90th percentile of {len(waits)} steps; chart built anew "
        f"{rebuilt} times; {sent / len(waits) / 1000:.1f} kB sent per step"
    )


def _many(address: str, browser: Browser, count: int) -> None:
    from core.train.measured import Measured
    from pages.widgets import curves_view
    from pages.widgets.charts import Line, traces
    from pages.widgets.live_figures import packed

    job_id = queue.submit("train", SPEC, title="Train: long", start=False)
    queue.request_stop(job_id)
    _fill(job_id, count)
    begun = time.perf_counter()
    found = Measured(job_id)
    found.update()
    print(f"{count:,} points: read from the records for the first time in {time.perf_counter() - begun:.2f} s")
    job, how = queue.get(job_id), curves_view.Shown()
    built, plain = [], []
    for _ in range(6):
        begun = time.perf_counter()
        found.update()
        figures = curves_view._figures(found, job, how)
        text = packed(figures)
        built.append(1000 * (time.perf_counter() - begun))
    steps, values = found.points("loss")
    for _ in range(2):
        begun = time.perf_counter()
        whole = packed({"a": {"data": traces({"loss": Line(steps, values)}, "nats", ".4f", most=count)}})
        plain.append(1000 * (time.perf_counter() - begun))
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    begun = time.perf_counter()
    page.goto(f"{address}?run={job_id}")
    page.wait_for_selector(f".st-key-loss_{job_id} .main-svg", timeout=120_000)
    opened = time.perf_counter() - begun
    loss = figures[f"loss_{job_id}"]
    data = [{key: _plain(value) for key, value in trace.items()} for trace in loss["data"]]
    drawn = _drawn(page, data, 6)
    all_drawn = _drawn(page, count, 2)
    page.close()
    # The first round of each warms up what is imported or compiled once.
    ours = statistics.median(built[1:]), statistics.median(drawn[1:])
    print(f"  page opened to chart drawn, its reading included: {opened:.2f} s")
    print(
        f"  thinned: {ours[0]:.0f} ms on the server ({len(text) / 1000:.0f} kB), {ours[1]:.0f} ms in the browser: "
        f"{sum(ours):.0f} ms in all"
    )
    print(
        f"  every point in one plain Scatter: {plain[-1]:.0f} ms on the server ({len(whole) / 1e6:.0f} MB), "
        f"{all_drawn[-1]:.0f} ms in the browser"
    )


def _fill(job_id: int, count: int) -> None:
    noise = np.random.default_rng(0).random(count)
    losses = (3 * np.exp(-np.arange(count) / (count / 5)) + 0.2 * noise).tolist()
    for start in range(0, count, 100_000):
        rows = [
            {"job_id": job_id, "step": step + 1, "name": "loss", "value": losses[step], "time": float(step)}
            for step in range(start, min(start + 100_000, count))
        ]
        with session() as opened:
            opened.connection().execute(Metric.__table__.insert(), rows)  # type: ignore[attr-defined]


def _drawn(page: Page, data: Any, rounds: int) -> list[float]:
    """Milliseconds until painted; a number stands for that many points made in the page."""
    layout = {"width": 760, "height": 456, "title": {"text": "Loss"}}
    if isinstance(data, int):
        script = f"async ([n, layout]) => ({DRAW})([({ALL})(n), layout])"
        return [page.evaluate(script, [data, layout]) for _ in range(rounds)]
    return [page.evaluate(DRAW, [data, layout]) for _ in range(rounds)]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


if __name__ == "__main__":
    main()
