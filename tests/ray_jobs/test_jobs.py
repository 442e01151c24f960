import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.recipe import Evaluation, LanguageEvaluation, Recipe
from gem_core.sources.models import ResolvedModel
from ray_jobs.jobs import EvaluateJob, ModelToScore, Progress, Trained, TrainJob, error_in

finite = st.floats(allow_nan=False, allow_infinity=False)
RECIPE = Recipe.model_validate(
    {"name": "tiny", "base_model": {"source": "here"}, "data": {"sources": [{"source": "here"}]}}
)


@given(text=st.text(), share=finite, metrics=st.dictionaries(st.text(), finite), before=st.text(max_size=20))
def test_progress_survives_a_log_line(text, share, metrics, before):
    progress = Progress(text=text, share=share, metrics=metrics)
    line = progress.line()
    assert "\n" not in line
    assert Progress.parse(before.replace("@", "") + line + "\x1b[0m") == progress


@given(st.text())
def test_other_lines_are_no_progress(line):
    assert Progress.parse(line.replace("@gem", "")) is None


@pytest.mark.parametrize("line", ["@gem", "@gem {", '@gem {"share": 1}', "@gem []", "mail me @gem {today}"])
def test_damaged_progress_is_no_progress(line):
    assert Progress.parse(line) is None


def test_progress_reads_well():
    assert str(Progress(text="step 3/9", share=1 / 3, metrics={"loss": 2.34567})) == "step 3/9 loss 2.346"


def test_error_lines():
    assert error_in("error: no rows in here; add some") == "no rows in here; add some"
    assert error_in("an error: in the middle") is None


@given(revision=st.text(), license=st.none() | st.text(), run=st.none() | st.text(), seed=st.integers(0, 2**31 - 1))
def test_train_job_round_trip(tmp_path_factory, revision, license, run, seed):
    folder = tmp_path_factory.mktemp("run")
    job = TrainJob(
        recipe=RECIPE.model_copy(update={"seed": seed}),
        base=ResolvedModel("here", revision, folder, "d" * 64, license),
        data=folder / "data",
        mlflow_run=run,
    )
    job.write(folder / "job.json")
    assert TrainJob.read(folder / "job.json") == job


def test_evaluate_job_round_trip(tmp_path):
    job = EvaluateJob(
        models=(ModelToScore(folder=tmp_path / "a", reference="a"),),
        evaluation=Evaluation(language=LanguageEvaluation(tasks=("blimp",))),
        home=tmp_path,
    )
    job.write(tmp_path / "job.json")
    assert EvaluateJob.read(tmp_path / "job.json") == job
    assert EvaluateJob.result_path(tmp_path / "job.json") == tmp_path / "job.result.json"


def test_data_folder_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ResolvedModel("here", "r", tmp_path, "d" * 64, None)
    assert TrainJob(recipe=RECIPE, base=base, data="data").data == tmp_path / "data"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"steps": 1}'])
def test_a_file_that_is_no_job_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    with pytest.raises(GemError, match="does not describe a TrainJob") as caught:
        TrainJob.read(tmp_path / "job.json")
    assert "\n" not in str(caught.value)


def test_a_finished_training_is_found_only_with_its_model(tmp_path):
    assert Trained.find(tmp_path) is None
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    trained = Trained(steps=1, seconds=1.0, tokens=1, digest=content_digest(model), final={"loss": 1.0})
    trained.write(tmp_path / "training.json")
    assert Trained.find(tmp_path) == trained
    (model / "config.json").write_text(json.dumps({"changed": True}))
    assert Trained.find(tmp_path) is None


def test_the_submitting_side_imports_nothing_heavy():
    heavy = "{'torch', 'ray', 'mlflow', 'transformers'}"
    code = f"import ray_jobs.submit, ray_jobs.jobs, sys; print({heavy} & set(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.strip() == "set()"
