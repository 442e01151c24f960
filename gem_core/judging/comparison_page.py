"""A comparison as one HTML file that opens offline: styles and plots are in it, and it loads nothing."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from gem_core.provenance import recipe_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gem_core.judging.comparison import ModelComparison
    from gem_core.judging.difference import Difference
    from gem_core.provenance import Provenance

COLOURS = {"better": "#0b7a4b", "worse": "#b3261e", "unclear": "#6b6f76", "no interval": "#6b6f76", "equal": "#6b6f76"}
"""Of the verdicts; each is also a word in the table, so that nothing is said by colour alone."""
ROW_INCHES = 0.28


def comparison_page(comparison: ModelComparison, first: Provenance, second: Provenance) -> str:
    """The whole page; equal input gives equal bytes.

    Args:
        comparison: What was found.
        first: Where the first model comes from.
        second: The same of the second.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gem_core.judging"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["points"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["change"] = lambda value: "–" if value is None else f"{value:+.2f}"
    parts = comparison.at("part")
    shared, own = _settings(comparison.settings)
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        sides=(first, second),
        facts=list(dict.fromkeys((*first.facts, *second.facts))),
        changes=recipe_changes(first, second),
        colours=COLOURS,
        plot=interval_plot(comparison.at("average", "category", "task")),
        parts_plot=interval_plot(parts) if parts else "",
        refused=[row for row in comparison.at("task") if not row.comparable],
        shared_settings=shared,
        own_settings=own,
    )


def interval_plot(rows: Sequence[Difference]) -> str:
    """An SVG element: one line a row, the difference as a point in its interval, zero as a line. Empty without any."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = [(row, row.difference) for row in rows if row.difference is not None]
    if not drawn:
        return ""
    # Texts stay texts, in the reader's font; ids follow from the content, so that equal plots are equal bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "gem", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8.6, 0.9 + ROW_INCHES * len(drawn)), layout="constrained")
        axes = figure.add_subplot()
        for height, (row, difference) in enumerate(reversed(drawn)):
            colour = COLOURS[row.verdict]
            if row.interval is not None:
                axes.plot(row.interval, (height, height), color=colour, linewidth=2, solid_capstyle="butt")
            marker = "D" if row.level in ("average", "category") else "o"
            axes.plot(difference, height, marker, color=colour, fillstyle="full" if row.interval else "none")
        axes.axvline(0.0, color="#1f2328", linewidth=1)
        axes.set_yticks(range(len(drawn)), [row.label for row, _ in reversed(drawn)])
        axes.set_ylim(-0.6, len(drawn) - 0.4)
        axes.set_xlabel("points, second minus first")
        axes.grid(axis="x", color="#d8dbe0", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    whole = stream.getvalue()
    return whole[whole.index("<svg") :]  # an XML declaration and a document type have no place inside a page


def _settings(by_metric: dict[str, dict[str, Any]]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What all tasks were measured by, and what is each one's own."""
    flat = {metric: dict(_lines(settings)) for metric, settings in by_metric.items() if settings}
    if not flat:
        return {}, {}
    shared = dict(set.intersection(*(set(settings.items()) for settings in flat.values())))
    own = {
        metric: {name: value for name, value in settings.items() if name not in shared and name != "task"}
        for metric, settings in flat.items()
    }
    return dict(sorted(shared.items())), own


def _lines(settings: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in sorted(settings.items()):
        if isinstance(value, dict):
            yield from ((f"{name}: {inner}", said) for inner, said in _lines(value))
        elif value is not None:
            yield name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
