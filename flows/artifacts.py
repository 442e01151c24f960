"""What a flow run shows in the Prefect UI: the score table and the gate report."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.console import metric_label
from gem_core.evaluation.scores import Scores
from gem_core.judging.gates import GateReport


def score_table(scores: dict[str, Scores]) -> None:
    """One row a metric, in points, the models (by role) side by side."""
    metrics = dict.fromkeys(metric for one in scores.values() for metric in one.metrics())
    rows = [
        {
            "metric": metric_label(metric, *scores.values()),
            **{role: _rounded(one.value(metric)) for role, one in scores.items()},
        }
        for metric in metrics
    ]
    create_table_artifact(rows, key="scores", description="Scores in points (0 to 100)")


def gate_report(report: GateReport) -> None:
    """The verdict, and each gate with its reason."""
    lines = [f"**Verdict: {report.verdict}**", "", "| gate | verdict | reason |", "|---|---|---|"]
    lines += [f"| {result.name} | {result.verdict} | {result.reason} |" for result in report.results]
    create_markdown_artifact("\n".join(lines), key="gate-report", description="Quality gates")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
