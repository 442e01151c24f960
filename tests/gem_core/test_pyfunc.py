"""The flavour as MLflow uses it: a model is registered, then loaded by its registry name and asked for both tasks."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.method.model import GemModel
from gem_core.pyfunc import MODEL_FILE
from gem_core.recipe import Adaptation, SpecialTokens
from gem_core.records import model_files
from gem_core.records.lineage import Lineage
from gem_core.records.registration import register
from gem_core.records.tracking import Tracking

LINEAGE = Lineage(base_model="b", base_revision="r", base_digest="d", data_digest="d", recipe={}, recipe_digest="r")
TEXTS = ["The old fox sleeps.", "The owl sings by the cold river."]


@pytest.fixture(scope="module")
def version(registry, store, bases, tmp_path_factory):
    """A registered GEM model over a tiny base of random weights."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    GemModel.from_base(bases(), special_tokens=SpecialTokens(count=2), adaptation=Adaptation(), seed=1).save(folder)
    run_id = Tracking(store.mlflow_uri).start_run("runs", "served", {})
    return register(registry, "served", folder, run_id, LINEAGE, who="tests", digest=content_digest(folder))


@pytest.fixture(scope="module")
def served(store, version):
    """What ``mlflow models serve`` loads and asks."""
    from mlflow import pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.mlflow_uri)
        patch.setenv("GEM_HOME", str(store.home))
        return pyfunc.load_model(version.reference)


def test_it_embeds_as_the_model_itself(served, store, version):
    model = GemModel.load(model_files.local_path(version.source), settings=store)
    np.testing.assert_allclose(served.predict(TEXTS), model.encode(TEXTS), atol=1e-6)


def test_it_generates_as_the_model_itself(served, store, version):
    model = GemModel.load(model_files.local_path(version.source), settings=store)
    written = served.predict(TEXTS, params={"task": "generate", "max_new_tokens": 5})
    assert written == [model.generate(text, max_new_tokens=5) for text in TEXTS]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXTS},
        {"instances": TEXTS},
        {"dataframe_records": [{"text": text} for text in TEXTS]},
        {"inputs": TEXTS, "params": {"task": "generate", "max_new_tokens": 2}},
    ],
)
def test_the_server_answers_every_form_of_request(served, body):
    from mlflow.pyfunc import scoring_server

    schema = served.metadata.get_input_schema()
    answer = scoring_server.invocations(json.dumps(body), "application/json", served, schema)
    assert answer.status == 200
    predictions = json.loads(answer.response)["predictions"]
    assert len(predictions) == 2
    assert all(isinstance(one, str if "params" in body else list) for one in predictions)


def test_mistakes_are_the_callers_and_in_one_line(served):
    from mlflow.exceptions import MlflowException

    for texts, params, expected in (
        (TEXTS, {"task": "translate"}, "no task 'translate'; give one of embed, generate"),
        (TEXTS, {"max_length": 2}, "leaves no room beside 2 special tokens"),
        ({"text": TEXTS}, {}, "not a text"),
    ):
        with pytest.raises(MlflowException, match=expected) as refused:
            served.predict(texts, params=params)
        assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize("missing", [None, float("nan"), 0])
@pytest.mark.parametrize("task", ["embed", "generate"])
def test_an_input_without_a_text_is_the_callers_mistake(served, task, missing):
    """What is missing is falsy: it was looked for by its truth, and came to the tokenizer."""
    from mlflow.exceptions import MlflowException

    rows = pd.DataFrame({"text": pd.Series(["a text", missing], dtype=object)})
    with pytest.raises(MlflowException, match=r"is not a text|Incompatible input types") as refused:
        served.predict(rows, params={"task": task})
    assert refused.value.get_http_status_code() == 400


def test_changed_files_are_not_served(version, tmp_path):
    from mlflow import pyfunc

    folder = shutil.copytree(model_files.local_path(version.source), tmp_path / "copy")
    assert (folder / MODEL_FILE).is_file()
    (folder / "gem.json").write_text((folder / "gem.json").read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(GemError, match="are not those that were registered"):
        pyfunc.load_model(str(folder))
