"""What is measured of a candidate alone, where a gate asks: its weights, what it read of its tests, how it works."""

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from flows.progress import report
from flows.run import Run
from flows.work import work
from gem_core.contamination import overlap
from gem_core.evaluation.plan import plan
from gem_core.evaluation.scores import Scores
from gem_core.sources.data import PreparedData
from gem_core.studies.figures import KINDS
from ray_jobs.jobs import Figures, FiguresJob, ModelToScore
from ray_jobs.submit import Cluster

EXAMPLES = 20
"""Items that the run's folder shows of those that were read."""


@dataclass(frozen=True)
class Measured:
    """Figures by metric, and the machine that the latencies among them are of."""

    figures: dict[str, float]
    machine: str | None = None


def measure(run: Run, data: PreparedData, digest: str, ray: Cluster, *, scores: Scores | None = None) -> Measured:
    """The figures that the recipe's gates ask for; what nobody asks for costs nothing.

    Args:
        run: Whose gates, and whose candidate.
        data: What it was trained on.
        digest: The candidate's.
        ray: Where the model is loaded, if it has to be.
        scores: The candidate's: whatever was measured has to be looked for in the training rows.
    """
    asked = {gate.metric for gate in run.recipe.gates}
    found: dict[str, float] = {}
    machine = None
    if "memory.weights_mb" in asked:
        found["memory.weights_mb"] = weights_mb(run)
    if "contamination.share" in asked:
        share = contamination(run, data, _measured_on(run, scores) if scores else frozenset())
        found |= {} if share is None else {"contamination.share": share}
    if at_work := sorted(metric for metric in asked if metric.partition(".")[0] in KINDS):
        result = _at_work(run, digest, at_work, ray)
        found |= result.figures
        machine = result.machine
    return Measured(found, machine)


def _at_work(run: Run, digest: str, metrics: list[str], ray: Cluster) -> Figures:
    """What the model shows at work, by a Ray job; known from an earlier run of the same job on this machine."""
    threads = run.recipe.resources.workers * run.recipe.resources.cpus_per_worker
    job = FiguresJob(
        model=ModelToScore(folder=run.model, reference="candidate", digest=digest),
        metrics=tuple(metrics),
        dtype=run.recipe.evaluation.dtype,
        home=run.settings.home,
        threads=threads,
    )
    path = run.folder / f"figures-{digest[:12]}.json"
    known = job.found(path)
    if known is not None and (run.settings.ray_address or known.machine.startswith(f"{platform.node()},")):
        report("figures", 1.0, "known")
        return known
    with run.watch.step("measure figures"):
        job.write(path)
        work(ray, "ray_jobs.figures", path, f"{run.key}-figures-{digest[:12]}", "figures", threads=threads)
    report("figures", 1.0, ", ".join(metrics))
    return Figures.read(FiguresJob.result_path(path))


def weights_mb(run: Run) -> float:
    """Megabytes of weights that a server of the candidate holds: an adapter's base counts too."""
    folders = [run.model]
    if (run.model / "adapter_config.json").is_file() or any(run.model.rglob("adapter_config.json")):
        folders.append(run.base.folder)
    files = chain.from_iterable(folder.rglob("*.safetensors") for folder in folders)
    return sum(file.stat().st_size for file in files) / 1e6


def contamination(run: Run, data: PreparedData, measured_on: frozenset[str] = frozenset()) -> float | None:
    """The share of evaluation items that stand in the training rows; ``contamination.json`` shows some of them.

    Args:
        run: Whose evaluation.
        data: The training rows.
        measured_on: The tasks behind the candidate's scores.

    Returns:
        None where the texts of one of those are out of reach by now: what nobody can look for is not clean.
    """
    from gem_core.evaluation.quiet import quiet
    from gem_core.evaluation.texts import evaluation_texts

    texts: dict[str, None] = {}
    reached: set[str] = set()
    with quiet():
        for task, text in evaluation_texts(run.recipe.evaluation, run.settings):
            texts[text] = None
            reached.add(task)
    found = overlap(_rows(run, data), texts)
    unreachable = sorted(measured_on - reached)
    share = found.share if found.items and not unreachable else None  # JSON has no NaN
    shown = {"share": share, "items": found.items, "read": len(found.read), "examples": found.read[:EXAMPLES]}
    if unreachable:
        shown["unreachable"] = unreachable
        report("contamination", 1.0, f"not known: the texts of {', '.join(unreachable)} are out of reach")
    (run.folder / "contamination.json").write_text(json.dumps(shown, indent=1, ensure_ascii=False), encoding="utf-8")
    return None if unreachable else found.share


def _measured_on(run: Run, scores: Scores) -> frozenset[str]:
    """The tasks that have scores, as :func:`evaluation_texts` calls them."""
    known = {(score.kind, score.task) for score in scores.tasks}
    asked = {task.task for task in plan(run.recipe.evaluation, run.settings.home) if (task.kind, task.task) in known}
    return frozenset(asked | ({"generation"} if any(kind == "generation" for kind, _ in known) else set()))


def _rows(run: Run, data: PreparedData) -> Iterator[str]:
    """The training texts, from the tokens that were trained on."""
    from transformers import AutoTokenizer

    from gem_core.sources.rows import Rows

    tokenizer = AutoTokenizer.from_pretrained(run.base.folder)
    rows = Rows.open(data.folder)
    for index in range(len(rows)):
        for text in rows.group(index):
            yield tokenizer.decode(text, skip_special_tokens=True)
