"""The charts of a profile: how long texts are, and how labels and languages are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import plotly.graph_objects as go

from pages.widgets.charts import FIRST, SECOND
from pages.widgets.look import ink

# Neutral, so that no part is mistaken for a rung; told apart by lightness too.
PARTS = {"train": "#3B6A85", "validation": "#C9B458", "test": "#8FB3C7"}
CUT = "#B04A3A"
MOST_BARS = 15


def histogram(
    title: str, lengths: Mapping[str, tuple[Sequence[float], Sequence[int]]], cut: int | None = None
) -> go.Figure:
    """Examples over tokens. `lengths`: what is measured -> (edges, counts between them); `cut` is drawn as a line."""
    figure = go.Figure()
    for position, (name, (edges, counts)) in enumerate(lengths.items()):
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        widths = [high - low for low, high in pairwise(edges)]
        ranges = [f"{low:,.0f} to {high:,.0f}" for low, high in pairwise(edges)]
        figure.add_trace(
            go.Bar(
                x=middles,
                y=list(counts),
                width=widths,
                name=name,
                customdata=ranges,
                marker={"color": (FIRST, SECOND)[position % 2], "line": {"width": 0}},
                opacity=0.75 if len(lengths) > 1 else 1,
                hovertemplate=f"{name}: %{{y:,}} examples<br>%{{customdata}} tokens<extra></extra>",
            )
        )
    _style(figure, title, many=len(lengths) > 1)
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_xaxes(title="tokens", rangemode="tozero")
    figure.update_yaxes(title="examples")
    if cut is not None:
        figure.add_vline(
            x=cut,
            line={"color": CUT, "width": 2, "dash": "dash"},
            annotation={"text": f"cut at {cut:,}", "font": {"color": CUT, "size": 12}},
            annotation_position="top left",
        )
    return figure


def shares(title: str, counts: Mapping[str, Mapping[str, float]], unit: str = "examples") -> go.Figure:
    """Lying bars of percentages. `counts`: part, or one name alone -> label -> how many; the most frequent on top."""
    totals: dict[str, float] = {}
    for series in counts.values():
        for label, number in series.items():
            totals[label] = totals.get(label, 0) + number
    labels = sorted(totals, key=lambda label: (-totals[label], label))[:MOST_BARS]
    figure = go.Figure()
    for name, series in counts.items():
        whole = sum(series.values()) or 1
        figure.add_trace(
            go.Bar(
                x=[100 * series.get(label, 0) / whole for label in labels],
                y=[_short(label) for label in labels],
                name=name,
                orientation="h",
                customdata=[[_number(series.get(label, 0), unit), _bare(label)[:200]] for label in labels],
                marker={"color": PARTS.get(name, FIRST)},
                hovertemplate=f"%{{customdata[1]}}<br>{name}: %{{customdata[0]}}%{{x:.1f}} %<extra></extra>",
            )
        )
    _style(figure, title, many=len(counts) > 1)
    per_bar = 12 + 10 * len(counts)
    figure.update_layout(barmode="group", bargap=0.25, height=110 + per_bar * len(labels))
    figure.update_xaxes(title=f"% of the {unit} of each part" if len(counts) > 1 else f"% of the {unit}")
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def _number(count: float, unit: str) -> str:
    """How many, where that is known and not only a share."""
    return f"{count:,} {unit}, " if isinstance(count, int) else ""


def _bare(label: str) -> str:
    """Plotly reads some markup and formulas in any text: what they begin with is shown by a twin."""
    return label.replace("<", "‹").replace(">", "›").replace("&", "＆").replace("$", "＄")


def _short(label: str) -> str:
    return _bare(label) if len(label) <= 28 else _bare(label[:27]) + "…"


def _style(figure: go.Figure, title: str, *, many: bool) -> None:
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        font=ink(),
        height=300,
        margin={"l": 8, "r": 8, "t": 60 if many else 46, "b": 8},
        showlegend=many,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        dragmode=False,
        uirevision=title,
    )
