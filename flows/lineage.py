"""Where a candidate comes from, gathered at the moment it is registered."""

import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from prefect.runtime import flow_run

from flows.run import Run
from gem_core.records.lineage import Lineage
from gem_core.sources.data import PreparedData
from gem_core.sources.texts import data_license
from ray_jobs.jobs import Trained

SHAPING_PACKAGES = ("torch", "transformers", "peft", "mteb", "lm-eval", "gem-platform")


def gather(run: Run, data: PreparedData, training: Trained, parent: str | None) -> Lineage:
    """Everything needed to explain a version and to run it again.

    Args:
        run: The recipe and its base.
        data: The prepared rows.
        training: What the training job left.
        parent: The champion's version when the candidate was judged.
    """
    return Lineage(
        base_model=run.base.reference,
        base_revision=run.base.revision,
        base_digest=run.base.digest,
        base_license=run.base.license,
        data_digest=data.digest,
        data_sources=tuple(asdict(source) | {"license": data_license(source)} for source in data.sources),
        recipe=run.recipe.model_dump(mode="json"),
        recipe_digest=run.recipe.digest(),
        code_commit=code_commit(),
        image=run.settings.image,
        parent=parent,
        flow_run=flow_run.id,
        ray_job=run.training_key,
        steps=training.steps,
        training_seconds=training.seconds,
        worker_seconds=training.seconds * run.recipe.resources.workers,
        packages={name: metadata.version(name) for name in SHAPING_PACKAGES},
    )


def code_commit() -> str | None:
    """The commit this program runs from, ``-dirty`` if changed; None outside a checkout of its own, and without git."""
    root = Path(__file__).resolve().parents[1]
    if _git(root, "rev-parse", "--show-toplevel") != str(root):  # installed below another project's checkout
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it has nothing to say, or there is none (as in the image)."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return said.stdout.strip() or None
