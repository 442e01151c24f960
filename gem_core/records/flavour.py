"""The pyfunc flavour of a stored model: the file that tells MLflow how to load it, and what it takes and gives."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.models import ModelSignature

LOADER = "gem_core.pyfunc"
"""The module by which MLflow loads the files."""
TASKS = ("embed", "generate")
MODEL_FILE, ENVIRONMENT_FILE = "MLmodel", "python_env.yaml"
DIGEST = "gem.digest"
"""Key of the content digest in the metadata of ``MLmodel``."""
NEEDED = ("gem-platform", "torch", "transformers", "peft", "mlflow")


def signature() -> ModelSignature:
    """What goes in, and the parameters with their defaults; what comes out depends on the task."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    params = [
        ParamSpec("task", "string", "embed"),
        ParamSpec("max_length", "long", 512),
        ParamSpec("max_new_tokens", "long", 64),
        ParamSpec("temperature", "double", 0.0),
        ParamSpec("seed", "long", 0),
    ]
    return ModelSignature(inputs=Schema([ColSpec("string")]), params=ParamSchema(params))


def write_flavour(folder: Path, digest: str) -> None:
    """Write ``MLmodel`` and the environment it needs into a folder; neither counts for the content digest.

    Args:
        folder: Exists.
        digest: Of the model that the files describe; whoever loads it checks it.
    """
    from mlflow import pyfunc
    from mlflow.models import Model

    model = Model(signature=signature(), metadata={DIGEST: digest})
    pyfunc.add_to_model(model, loader_module=LOADER, python_env=ENVIRONMENT_FILE)
    model.save(str(folder / MODEL_FILE))
    pins = [f"{name}=={metadata.version(name).split('+')[0]}" for name in NEEDED]
    content = {"python": pyfunc.PYTHON_VERSION, "build_dependencies": ["pip"], "dependencies": pins}
    (folder / ENVIRONMENT_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
