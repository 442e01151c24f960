r"""The pyfunc flavour of a registered model: what ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` make of it.

A stored model has an ``MLmodel`` file beside its weights, which names this module. Texts go in; the parameter
``task`` says what comes out: ``embed`` an embedding a text, ``generate`` a continuation a text. For example::

    mlflow models serve -m models:/sandbox@champion --env-manager local --port 5001
    curl -H 'Content-Type: application/json' http://127.0.0.1:5001/invocations \
        -d '{"inputs": ["The old fox"], "params": {"task": "generate", "max_new_tokens": 20}}'
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.records.flavour import DIGEST, MODEL_FILE, TASKS, signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from gem_core.method.model import GemModel


class ServedModel:
    """A loaded model as pyfunc calls it."""

    def __init__(self, model: GemModel) -> None:
        self.model = model

    def predict(
        self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> npt.NDArray[np.float32] | list[str]:
        """Embeddings ``[texts, dimension]`` of unit length, or one continuation a text.

        Args:
            model_input: One column of texts; MLflow makes it of a list, too.
            params: As in :func:`signature`, which has filled in the defaults.

        Raises:
            MlflowException: An unknown task, or texts that cannot be read (status 400 when served).
        """
        from mlflow.exceptions import MlflowException

        asked = {item.name: item.default for item in signature().params} | dict(params or {})
        texts = list(model_input.iloc[:, 0]) if len(model_input) else []
        if asked["task"] not in TASKS:
            raise MlflowException.invalid_parameter_value(f"no task {asked['task']!r}; give one of {', '.join(TASKS)}")
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise MlflowException.invalid_parameter_value(f"{wrong[0]!r} is not a text; give one text an input")
        try:
            if asked["task"] == "embed":
                return self.model.encode(texts, max_length=asked["max_length"])
            options = {name: asked[name] for name in ("max_new_tokens", "temperature", "seed")}
            return [self.model.generate(text, **options) for text in texts]
        except GemError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _load_pyfunc(path: str) -> ServedModel:
    """Load a stored model; MLflow finds this function by its name.

    Raises:
        GemError: The files are not those that were registered, or the base of an adapter is gone.
    """
    from mlflow.models import Model

    from gem_core.method.model import GemModel
    from gem_core.settings import Settings

    folder = Path(path)
    registered = (Model.load(str(folder / MODEL_FILE)).metadata or {}).get(DIGEST)
    if content_digest(folder) != registered:
        raise GemError(
            f"the files in {folder} are not those that were registered (digest {str(registered)[:12]}): "
            "restore them, or register the model again"
        )
    return ServedModel(GemModel.load(folder, settings=Settings()))
