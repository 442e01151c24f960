import pytest

from gem_core.errors import GemError
from gem_core.recipe import EmbeddingEvaluation, Evaluation
from ray_jobs import submit
from ray_jobs.jobs import Evaluated, EvaluateJob, ModelToScore


def test_a_job_without_models_writes_its_result(cluster, tmp_path):
    path = tmp_path / "job.json"
    EvaluateJob(models=(), evaluation=Evaluation(), home=tmp_path).write(path)
    submit.follow(cluster, submit.submit(cluster, "ray_jobs.evaluate", [path], "nothing"), lambda line: None)
    assert Evaluated.read(EvaluateJob.result_path(path)) == Evaluated(scores={})


@pytest.mark.slow
def test_an_unknown_task_is_the_job_s_own_line(cluster, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    path = tmp_path / "job.json"
    evaluation = Evaluation(embedding=EmbeddingEvaluation(tasks=("STSBenchmarc",)))
    models = (ModelToScore(folder=tmp_path, reference="tiny"),)
    EvaluateJob(models=models, evaluation=evaluation, home=tmp_path).write(path)
    job = submit.submit(cluster, "ray_jobs.evaluate", [path], "unknown-task")
    with pytest.raises(GemError, match="STSBenchmark"):
        submit.follow(cluster, job, lambda line: None)
