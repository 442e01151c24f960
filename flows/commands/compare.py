"""``gem compare``: two models side by side on what both were measured on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from flows.commands.models import ModelArgument, SuiteOption, TasksOption, evaluation_of, measured
from flows.commands.runs import JsonOption
from flows.console import err, out, points, print_json, table
from flows.progress import shown_on
from gem_core.errors import GemError
from gem_core.judging.comparison import ModelComparison
from gem_core.judging.difference import Difference
from gem_core.provenance import Provenance, provenance
from gem_core.settings import Settings
from gem_core.sources.models import locate

HtmlOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the whole report here: one page that opens offline.")
]
COLOURS = {"better": "green", "worse": "red", "not comparable": "yellow"}


def compare(
    first: ModelArgument,
    second: ModelArgument,
    suite: SuiteOption = None,
    tasks: TasksOption = None,
    html: HtmlOption = None,
    json: JsonOption = False,
) -> None:
    """Hold the second model against the first: differences by task and category, paired intervals, a verdict in words.

    Without --suite and --tasks nothing is measured: what is known of both is compared, where the settings are equal.
    With either, what is missing is measured first. For example
    `gem compare models:/sandbox/1 models:/sandbox@champion --html report.html`.
    """
    if html is not None and not html.parent.is_dir():
        raise GemError(f"cannot write {html}: there is no folder {html.parent}")
    settings = Settings()
    sides = [provenance(name, locate(name, settings), settings) for name in (first, second)]
    comparison = _compare(sides[0], sides[1], suite, tasks, settings)
    if html is not None:
        _write(html, comparison, sides)
    if json:
        print_json({"first": sides[0], "second": sides[1], "comparison": comparison})
        return
    out().print(table(f"{second} against {first} (points, 0 to 100)", COLUMNS, map(_row, _shown(comparison))))
    for row in comparison.at("task"):
        if not row.comparable:
            out().print(f"{row.label} is not compared: {row.reason}", style="yellow", soft_wrap=True)
    out().print(f"\n{comparison.sentence}.", soft_wrap=True)
    if html is not None:
        out().print(f"The report is in {html}", soft_wrap=True)


COLUMNS = ("task", "first", "second", "difference", "interval", "verdict")


def _compare(
    first: Provenance, second: Provenance, suite: str | None, tasks: str | None, settings: Settings
) -> ModelComparison:
    from gem_core.evaluation.plan import plan
    from gem_core.evaluation.store import ScoreStore
    from gem_core.judging.comparison import compare as hold_against
    from gem_core.judging.recorded_scores import recorded_pair

    if suite is None and tasks is None:
        ours, theirs, known = recorded_pair(
            settings.scores, (first.digest, first.reference), (second.digest, second.reference)
        )
        missing = [scores.reference for scores in (ours, theirs) if not scores.tasks]
        if missing:
            raise GemError(
                f"nothing was measured of {missing[0]} yet: say what to compare by, with --suite NAME or --tasks A,B"
            )
    else:
        evaluation = evaluation_of(suite, tasks)
        with shown_on(err()):
            ours, theirs = (measured(side.reference, evaluation) for side in (first, second))
        known = {task.digest: task.settings for task in plan(evaluation)}
    store = ScoreStore(settings.scores)
    return hold_against(ours, theirs, records=store.items, predictions=store.predictions, settings=known)


def _write(html: Path, comparison: ModelComparison, sides: list[Provenance]) -> None:
    from gem_core.judging.comparison_page import comparison_page

    try:
        html.write_text(comparison_page(comparison, *sides), encoding="utf-8")
    except OSError as error:
        raise GemError(f"cannot write {html}: {error.strerror or error}") from error


def _shown(comparison: ModelComparison) -> tuple[Difference, ...]:
    """The rows a terminal has room for: a group's parts are in the report."""
    return comparison.at("average", "category", "task")


def _row(row: Difference) -> list[str | Text]:
    label = f"{row.label}{' (limited)' if row.limited else ''}"
    return [
        Text(label, style="bold") if row.level == "average" else f"  {label}",
        points(row.first),
        points(row.second),
        "–" if row.difference is None else f"{row.difference:+.2f}",
        "–" if row.interval is None else f"{row.interval[0]:+.2f} to {row.interval[1]:+.2f}",
        Text(row.verdict, style=COLOURS.get(row.verdict, "")),
    ]


COMMANDS = (compare,)
