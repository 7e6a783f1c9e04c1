"""New points for charts that are already on the page, without drawing the charts anew.

Streamlit takes a Plotly chart with other points for another chart: it would be built again at every step, flicker,
and forget what a person has zoomed into. So a chart that grows is drawn once, and this invisible component hands
Plotly, which the chart has brought along, the present points of the same chart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import streamlit as st

# Charts are drawn one at a time, so that a slow browser stays responsive; what is newer replaces what still waits.
# A chart that is not on the page yet is waited for, ten seconds at most. Plotly's own event tells Streamlit's chart
# what it shows now, so that it keeps the points when it is resized. That draws it once more, so it waits for a quiet
# moment; whatever Streamlit has drawn in between is put right first.
_PUSH = st.components.v2.component(
    "live_figures",
    js="""
const waiting = new Map()
let timer = 0

function draw(plot, { data, layout }) {
  return window.Plotly.react(plot, data, { ...plot.layout, ...layout })
}

function next() {
  timer = 0
  if (!waiting.size) return
  const [key, entry] = waiting.entries().next().value
  waiting.delete(key)
  const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`)
  const ready = window.Plotly && plot?._fullLayout
  if (ready) {
    draw(plot, entry.figure)
    clearTimeout(plot.settling)
    plot.settling = setTimeout(() => draw(plot, entry.figure).then(() => plot.emit("plotly_redraw")), 1500)
  } else if (entry.tries--) {
    waiting.set(key, entry)
  }
  timer = setTimeout(next, ready ? 0 : 100)
}

export default function ({ data }) {
  for (const [key, figure] of Object.entries(JSON.parse(data.figures))) waiting.set(key, { figure, tries: 100 })
  timer ||= setTimeout(next)
}
""",
    isolate_styles=False,
)


def packed(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Charts by the key they were drawn with, each with its `data` and what changes of its `layout`, as JSON."""
    return orjson.dumps(figures, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def push(figures: str, key: str) -> None:
    """Hand over what `packed` gave. The same text again sends and changes nothing."""
    _PUSH(key=key, data={"figures": figures}, height=1)
