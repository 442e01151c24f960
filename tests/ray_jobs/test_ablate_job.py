import pytest

from gem_core.recipe import Recipe
from gem_core.sources.models import ResolvedModel
from gem_core.studies.ablation import Result, variants
from ray_jobs.ablate import progress
from ray_jobs.jobs import AblateJob


def a_job(tmp_path, grid="pooling,simcse"):
    return AblateJob(
        recipe=Recipe.model_validate(
            {"name": "tiny", "base_model": {"source": "x"}, "data": {"sources": [{"source": "x.txt"}]}}
        ),
        base=ResolvedModel("x", "r", tmp_path, "d", None),
        data=tmp_path / "data",
        variants=variants(grid),
        seeds=(1, 2),
        results=tmp_path / "results",
        home=tmp_path,
    )


def test_only_what_is_trained_runs_with_every_seed(tmp_path):
    runs = [(variant.name, seed) for variant, seed in a_job(tmp_path).runs()]
    assert runs[:2] == [("GEM", 1), ("GEM", 2)]
    assert ("base, mean pooling", 1) in runs
    assert ("base, mean pooling", 2) not in runs
    assert ("causal SimCSE, weighted mean, AdamW", 2) in runs


def test_every_result_has_a_file_of_its_own_and_a_broken_one_counts_as_missing(tmp_path):
    job = a_job(tmp_path, "all")
    paths = [job.result(variant, seed) for variant, seed in job.runs()]
    assert len(set(paths)) == len(paths)
    assert job.found() == []
    job.results.mkdir()
    for path, (variant, seed) in zip(paths[:2], job.runs()[:2], strict=True):
        path.write_text(Result(variant=variant.name, seed=seed, points={"STS12": 1.0}).model_dump_json())
    assert [(found.variant, found.seed) for found in job.found()] == [("GEM", 1), ("GEM", 2)]
    paths[0].write_text("{")
    assert len(job.found()) == 1


def test_what_comes_to_the_same_runs_once_and_is_a_row_by_every_name(tmp_path):
    job = a_job(tmp_path, "k,optimizer,pooling")
    names = [[variant.name for variant, _ in group] for group in job.alike() if group[0][1] == 1]
    same = ["GEM", "k = 1", "by AdamW alone"]
    assert names[0] == same
    assert sorted(name for group in names for name in group) == sorted(variant.name for variant in job.variants)
    assert {seed for group in job.alike() for _, seed in group} == {1, 2}
    assert all(len({seed for _, seed in group}) == 1 for group in job.alike())
    job.results.mkdir()
    job.keep(Result(variant="GEM", seed=2, points={"STS12": 7.0}), next(g for g in job.alike() if g[0][1] == 2))
    assert [(found.variant, found.seed, found.points) for found in job.found()] == [
        (name, 2, {"STS12": 7.0}) for name in same
    ]


def test_a_job_is_read_as_it_was_written(tmp_path):
    job = a_job(tmp_path)
    job.write(tmp_path / "job.json")
    assert AblateJob.read(tmp_path / "job.json") == job


def test_progress_counts_the_steps_of_what_is_under_way(tmp_path):
    job = a_job(tmp_path, "floor")  # GEM with two seeds, hashed words once
    job.results.mkdir()
    first, second, hashed = job.runs()
    assert str(progress(job, [first, second, hashed], 3)) == "0 of 3 done"
    job.note_steps(*first, 25, 100)
    job.note_steps(*second, 50, 100)
    told = progress(job, [first, second], 3)
    assert (told.text, told.share) == ("GEM (25/100), GEM (50/100)", pytest.approx((1 + 0.25 + 0.5) / 3))
    job.result(*first).with_suffix(".steps").write_text("2")  # half written
    assert progress(job, [first], 3).share == pytest.approx(2 / 3)
