"""The dashboard's charts: data in, Altair charts out. Colours that mean nothing come from Streamlit's theme."""

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE_COLOUR = "#9aa0a6"
MODEL_COLOURS = ("#3563c9", "#e08a1e", "#2f9e83", "#9c5fc4", "#c4536b", "#7d8a2e")
VERDICT_COLOURS = {
    "better": "#2f8f5b",
    "worse": "#c4435b",
    "unclear": "#8a8f98",
    "equal": "#8a8f98",
    "no interval": "#3563c9",
}
"""Of a difference: grey is one that the items cannot tell from none."""
ROW_HEIGHT = 36
AXIS_AND_LEGEND = 96
"""Pixels that Streamlit counts into a chart's height besides its rows."""


def score_chart(scores: pd.DataFrame, shown: "Sequence[str]", known: "Sequence[str]") -> alt.LayerChart:
    """One row a task, one dot a model: how far apart the dots are is how much a model gained or lost.

    The base is an upright bar, taller than a dot, so that it shows where a model neither gained nor lost.

    Args:
        scores: columns ``task``, ``model`` and ``score`` (points, 0 to 100); a missing score has no row.
        shown: the models of this chart.
        known: all models a reader may choose, the base first, so that each keeps its colour whatever is shown.
    """
    base, *others = known
    colours = {model: MODEL_COLOURS[i % len(MODEL_COLOURS)] for i, model in enumerate(reversed(others))}
    colours[base] = BASE_COLOUR
    task = alt.Y("task:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, grid=True, ticks=False, domain=False))
    spread = (
        alt.Chart(scores)
        .mark_rule(strokeWidth=2, opacity=0.5, color=BASE_COLOUR)
        .encode(y=task, x=alt.X("min(score):Q"), x2=alt.X2("max(score):Q"))
    )
    marked = alt.Chart(scores).encode(
        y=task,
        x=alt.X(
            "score:Q",
            title="Points, 0 to 100: higher is better",
            scale=alt.Scale(domain=[0, 100]),
            axis=alt.Axis(tickCount=5),
        ),
        color=alt.Color(
            "model:N",
            title=None,
            scale=alt.Scale(domain=list(shown), range=[colours[model] for model in shown]),
            legend=alt.Legend(orient="top", symbolSize=110, symbolType="circle"),
        ),
        tooltip=[
            alt.Tooltip("task:N", title="Task"),
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("score:Q", title="Points", format=".1f"),
        ],
    )
    bars = marked.transform_filter(alt.datum.model == base).mark_tick(size=22, thickness=4)
    dots = marked.transform_filter(alt.datum.model != base).mark_circle(size=130, opacity=0.95)
    chart: alt.LayerChart = spread + bars + dots
    return chart.properties(height=ROW_HEIGHT * scores["task"].nunique() + AXIS_AND_LEGEND)


def difference_chart(differences: pd.DataFrame, first: str, second: str) -> alt.LayerChart:
    """One row a task: how much the second model gained over the first, with the interval of it where it is known.

    Args:
        differences: as :func:`dashboard.tables.difference_table` makes them.
        first: what the reader calls the first model.
        second: and the second.
    """
    order = differences["task"].tolist()  # the layers hold different rows: without it theirs would come first
    task = alt.Y("task:N", title=None, sort=order, axis=alt.Axis(labelLimit=260, grid=True, ticks=False, domain=False))
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICT_COLOURS), range=list(VERDICT_COLOURS.values())),
        legend=None,
    )
    tooltip = [
        alt.Tooltip("task:N", title="Task"),
        alt.Tooltip("first:Q", title=first, format=".1f"),
        alt.Tooltip("second:Q", title=second, format=".1f"),
        alt.Tooltip("difference:Q", title="Change", format="+.2f"),
        alt.Tooltip("low:Q", title="At least, likely", format="+.2f"),
        alt.Tooltip("high:Q", title="At most, likely", format="+.2f"),
        alt.Tooltip("verdict:N", title="Verdict"),
    ]
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=BASE_COLOUR, strokeWidth=2).encode(x="zero:Q")
    base = alt.Chart(differences).encode(y=task, color=colour, tooltip=tooltip)
    known = base.transform_filter("isValid(datum.low)")
    intervals = known.mark_rule(strokeWidth=5, opacity=0.35, strokeCap="round").encode(
        x=alt.X("low:Q", title=f"Points gained by {second} over {first}"), x2="high:Q"
    )
    dots = base.mark_circle(size=130, opacity=1).encode(
        x=alt.X("difference:Q", title=f"Points gained by {second} over {first}")
    )
    chart: alt.LayerChart = zero + intervals + dots
    return chart.properties(height=ROW_HEIGHT * len(differences) + AXIS_AND_LEGEND - 30)


def similarity_chart(similarities: np.ndarray, texts: "Sequence[str]", lowest: float) -> alt.LayerChart:
    """A matrix of similarities; darker is more similar. The diagonal, a text with itself, says nothing and is left out.

    Args:
        similarities: [N, N], within [-1, 1].
        texts: N texts; shown cut on the left axis, whole in the tooltip.
        lowest: where the colour scale begins, the same for charts that are read side by side.
    """
    labels = [f"{i + 1}  {_cut(text)}" for i, text in enumerate(texts)]
    numbers = [str(i + 1) for i in range(len(texts))]
    cells = pd.DataFrame(
        {
            "row": labels[i],
            "column": numbers[j],
            "first": texts[i],
            "second": texts[j],
            "similarity": float(similarities[i, j]),
        }
        for i in range(len(texts))
        for j in range(len(texts))
        if i != j
    )
    dark = lowest + 0.7 * (1 - lowest)  # from here on white text is easier to read
    base = alt.Chart(cells).encode(
        x=alt.X(
            "column:N", title=None, sort=numbers, axis=alt.Axis(orient="top", labelAngle=0, ticks=False, domain=False)
        ),
        y=alt.Y("row:N", title=None, sort=labels, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
        tooltip=[
            alt.Tooltip("first:N", title="Text"),
            alt.Tooltip("second:N", title="Compared with"),
            alt.Tooltip("similarity:Q", title="Similarity", format=".3f"),
        ],
    )
    squares = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color(
            "similarity:Q", legend=None, scale=alt.Scale(domain=[lowest, 1], range=["#eef3fc", "#3563c9"], clamp=True)
        )
    )
    numbers_in_cells = base.mark_text(fontSize=12).encode(
        text=alt.Text("similarity:Q", format=".2f"),
        color=alt.condition(alt.datum.similarity > dark, alt.value("#ffffff"), alt.value("#1f2a44")),
    )
    chart: alt.LayerChart = squares + numbers_in_cells
    return chart.properties(height=38 * len(texts) + 30)


def _cut(text: str, length: int = 28) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
