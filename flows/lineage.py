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
    """The commit this program runs from, ``-dirty`` if changed; None outside a checkout."""
    folder = Path(__file__).parent
    described = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607 - git is wherever the user has it
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
