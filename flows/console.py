"""How the command speaks: tables and sentences for people, one JSON document for programs."""

from collections.abc import Iterable, Mapping

import pydantic_core
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gem_core.errors import GemError
from gem_core.evaluation.scores import Scores
from gem_core.judging.gates import GateReport

VERDICT_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def out() -> Console:
    """Standard output. Made when asked for, so that a redirected stream is seen.

    What is printed is taken literally: names, reasons and paths may hold brackets, which rich would read as its markup.
    """
    return Console(highlight=False, markup=False, emoji=False)


def err() -> Console:
    """Standard error: progress and everything that is not the answer; literal, too."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(document: object) -> None:
    """One JSON document and nothing else; pydantic models and dataclasses included, NaN as null."""
    typer.echo(pydantic_core.to_json(document, indent=2, inf_nan_mode="null").decode())


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        drawn.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def points(value: float | None) -> str:
    """A score in points."""
    return "–" if value is None else f"{value:.2f}"


def change(value: float | None, reference: float | None) -> str:
    """A signed difference in points."""
    return "–" if value is None or reference is None else f"{value - reference:+.2f}"


def metric_label(metric: str, *scores: Scores | None) -> str:
    """A metric's name, marked where only a part of its items was measured."""
    return f"{metric} (limited)" if any(one.limited(metric) for one in scores if one) else metric


def score_rows(columns: Mapping[str, Scores | None], reference: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows that set models side by side, with each one's change against ``reference``.

    Args:
        columns: scores by the name of their column; None where a model is missing.
        reference: the column the others are compared to.
    """
    metrics = list(dict.fromkeys(m for scores in columns.values() if scores for m in scores.metrics()))
    base = columns[reference]
    others = [name for name in columns if name != reference]
    head = ["metric", reference, *(part for name in others for part in (name, "change"))]
    rows = []
    for metric in metrics:
        anchor = base.value(metric) if base else None
        row = [metric_label(metric, *columns.values()), points(anchor)]
        for name in others:
            scores = columns[name]
            value = scores.value(metric) if scores else None
            row += [points(value), change(value, anchor)]
        rows.append(row)
    return head, rows


def gate_table(report: GateReport) -> Table:
    """Each gate with its verdict and its reason."""
    drawn = Table(
        title="Quality gates", title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    for column in ("gate", "verdict", "reason"):
        drawn.add_column(column, overflow="fold")
    for result in report.results:
        colour = VERDICT_COLOURS[result.verdict]
        drawn.add_row(result.name, Text(result.verdict, style=colour), result.reason)
    return drawn


def time_table(seconds: Mapping[str, float], wall: float) -> Table:
    """Where the time of a run went; ``wall`` is the command's own, so that nothing hides outside the flow."""
    work = {kind: spent for kind, spent in seconds.items() if kind not in {"orchestration", "total"}}
    rows = [[kind, f"{spent:.1f}"] for kind, spent in work.items()]
    rows += [["orchestration (everything else)", f"{wall - sum(work.values()):.1f}"], ["total", f"{wall:.1f}"]]
    return table("Where the time went", ["kind", "seconds"], rows)


def fail(error: GemError) -> int:
    """Print the one line and return the exit status."""
    err().print(Text("error:", style="bold red"), " ".join(str(error).split()), soft_wrap=True)
    return 1
