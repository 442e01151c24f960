"""Whole measurements of real models on the miniature sandbox."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pyarrow import parquet
from scipy.stats import spearmanr

from gem_core.errors import GemError
from gem_core.evaluation.counted_statistics import of_records
from gem_core.evaluation.run import cached, evaluate
from gem_core.evaluation.store import ScoreStore
from gem_core.identity import content_digest
from gem_core.judging.gates import judge
from gem_core.method.model import GemModel
from gem_core.recipe import Evaluation, Gate
from gem_core.sandbox import EMBEDDING_TASKS, LANGUAGE_GROUP, build
from gem_core.sandbox.exam import SUBJECTS

SEED = 7
"""Of the miniature sandbox in ``conftest.py``."""


def table(store, score):
    return parquet.read_table(store.root / score.records).to_pylist()


def test_a_base_is_measured_with_both_poolings_and_on_every_subject(sandbox, evaluation, shared, capfd):
    seen = []
    scores = evaluate(sandbox.base_model, "the base", evaluation, shared, progress=lambda *step: seen.append(step))
    store = ScoreStore(shared.scores)

    assert scores.missing == {}
    assert scores.model == content_digest(sandbox.base_model)
    embedding = [score for score in scores.tasks if score.kind == "embedding"]
    assert {(s.task, s.read_out) for s in embedding} == {(t, r) for t in EMBEDDING_TASKS for r in ("mean", "last")}
    assert all(score.items > 0 and -100 <= score.value <= 100 and score.records for score in embedding)
    assert scores.best_read_out() in ("mean", "last")

    (exam,) = scores.measured(f"language.{LANGUAGE_GROUP}")
    subjects = scores.leaves(exam)
    assert {subject.task for subject in subjects} == {f"{LANGUAGE_GROUP}_{name}" for name in SUBJECTS}
    assert exam.value == pytest.approx(np.mean([subject.value for subject in subjects]))
    assert exam.items == 6 * len(SUBJECTS)
    items = store.items(exam)
    for subject in subjects:
        assert subject.value == pytest.approx(np.mean(list(items[subject.task].values())))
        assert subject.stderr == pytest.approx(np.std(list(items[subject.task].values()), ddof=1) / np.sqrt(6))
    for row in table(store, exam):
        assert len(row["loglikelihoods"]) == 4
        assert row["choice"] == np.argmax(row["loglikelihoods"])
        assert (str(row["choice"]) == row["gold"]) == bool(row["score"])

    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", ""), "the harnesses' own logs and bars stay out of ours"


def test_records_hold_what_the_score_was_computed_from(sandbox, evaluation, shared):
    scores = evaluate(sandbox.base_model, "the base", evaluation, shared)
    store = ScoreStore(shared.scores)
    by_task = {score.task: score for score in scores.tasks if score.read_out == "mean"}

    pairs = table(store, by_task["SandboxSTS"])
    predictions, golds = ([json.loads(row[name]) for row in pairs] for name in ("prediction", "gold"))
    assert by_task["SandboxSTS"].value == pytest.approx(100 * spearmanr(predictions, golds).statistic)

    texts = table(store, by_task["SandboxClassification"])
    golds = np.array([json.loads(row["gold"]) for row in texts])
    predictions = np.array([json.loads(row["prediction"]) for row in texts])
    assert by_task["SandboxClassification"].value == pytest.approx(100 * (predictions == golds[:, None]).mean())

    assert len(table(store, by_task["SandboxRetrieval"])) == by_task["SandboxRetrieval"].items == 8
    assert {row["gold"] for row in table(store, by_task["SandboxPairClassification"])} == {"0", "1"}
    for task in ("SandboxPairClassification", "SandboxClustering"):
        items, value = of_records(by_task[task].metric, store.predictions(by_task[task]))
        assert items == by_task[task].items
        assert value(np.ones((1, items)))[0] == pytest.approx(by_task[task].value, abs=1e-6), "mteb's own number"


def test_the_score_is_that_of_the_embeddings(sandbox, gem_folder, settings):
    evaluation = Evaluation.model_validate({"sandbox": 7, "embedding": {"tasks": ["SandboxSTS"], "max_length": 64}})
    (score,) = evaluate(gem_folder, "a model", evaluation, settings).tasks
    assert (score.read_out, score.metric) == ("special", "cosine_spearman")
    rows = json.loads((sandbox.tasks_data / "sts.json").read_text())["test"]
    model = GemModel.load(gem_folder, settings=settings)
    left, right = (model.encode([row[name] for row in rows], max_length=64) for name in ("sentence1", "sentence2"))
    expected = spearmanr((left * right).sum(axis=1), [row["score"] for row in rows]).statistic
    assert score.value == pytest.approx(100 * expected, abs=1e-3)


def test_an_adapter_that_changes_nothing_answers_like_its_base(sandbox, gem_folder, evaluation, shared):
    """The harness ties and evaluates the very model that embeds; neither may disturb the other."""
    store = ScoreStore(shared.scores)
    base = evaluate(sandbox.base_model, "the base", evaluation, shared)
    candidate = evaluate(gem_folder, "a model", evaluation, shared)
    ours, theirs = (table(store, scores.measured("language")[0]) for scores in (candidate, base))
    assert [row["item"] for row in ours] == [row["item"] for row in theirs]
    # One more token in the vocabulary takes its share of probability from all others alike.
    differences = [np.subtract(a["loglikelihoods"], b["loglikelihoods"]) for a, b in zip(ours, theirs, strict=True)]
    assert max(np.abs(difference).max() for difference in differences) < 0.2
    assert base.value("language") == candidate.value("language")
    report = judge(
        candidate,
        base,
        None,
        [Gate(name="language", metric="language", against="base", at_least=0.0)],
        records=store.items,
    )
    assert report.verdict == "pass"
    low, high = report.results[0].interval
    assert low <= report.results[0].difference == 0.0 <= high


def test_what_is_measured_is_not_measured_again(gem_folder, few_tasks, settings, monkeypatch):
    assert cached(content_digest(gem_folder), few_tasks, settings) is None
    first = evaluate(gem_folder, "a model", few_tasks, settings)
    monkeypatch.setattr("gem_core.evaluation.run._measure", pytest.fail)
    assert evaluate(gem_folder, "a model", few_tasks, settings) == first
    assert cached(first.model, few_tasks, settings, reference="a model") == first
    more = few_tasks.model_copy(update={"dtype": "bfloat16"})
    assert cached(first.model, more, settings) is None


def test_a_crash_costs_the_task_at_hand(gem_folder, few_tasks, settings):
    def crash(message, _):
        if LANGUAGE_GROUP in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(gem_folder, "a model", few_tasks, settings, progress=crash)
    seen = []
    scores = evaluate(gem_folder, "a model", few_tasks, settings, progress=lambda *step: seen.append(step[0]))
    assert scores.value("language") is not None
    assert scores.value("embedding") is not None
    assert not any("SandboxSTS" in message for message in seen)


@pytest.mark.parametrize(
    ("embedding", "language", "message"),
    [
        (["SandboxST"], [], r"unknown embedding task 'SandboxST'; did you mean SandboxSTS"),
        (["SandboxSTS"], ["sandbox_mlu"], r"unknown language task 'sandbox_mlu'; did you mean sandbox_mmlu"),
        (["STSBenchmrk"], [], r"unknown embedding task 'STSBenchmrk'; did you mean STSBenchmark"),
        (["zzzzzzzz"], [], r"unknown embedding task 'zzzzzzzz'; see mteb's list"),
    ],
)
def test_an_unknown_task_is_refused_with_what_may_be_meant(gem_folder, settings, embedding, language, message):
    evaluation = Evaluation.model_validate(
        {"sandbox": 7, "embedding": {"tasks": embedding}, "language": {"tasks": language}}
    )
    with pytest.raises(GemError, match=message):
        evaluate(gem_folder, "a model", evaluation, settings)
    assert not settings.scores.exists()


def test_a_task_without_the_language_is_named_and_the_rest_goes_on(gem_folder, settings):
    evaluation = Evaluation.model_validate(
        {"sandbox": 7, "embedding": {"tasks": ["SandboxSTS", "STSBenchmark"], "languages": ["deu"]}}
    )
    scores = evaluate(gem_folder, "a model", evaluation, settings)
    assert scores.missing == {"embedding.STSBenchmark": "has no texts in deu"}
    assert scores.value("embedding.SandboxSTS") is not None
    assert scores.value("embedding") is None


def test_questions_that_are_gone_are_named(gem_folder, home, few_tasks, settings):
    sandbox = build(home, SEED)
    file = sandbox.exam / f"{SUBJECTS[0]}.json"
    aside = file.rename(file.with_suffix(".aside"))
    try:
        scores = evaluate(gem_folder, "a model", few_tasks, settings)
    finally:
        aside.rename(file)
    assert set(scores.missing) == {f"language.{LANGUAGE_GROUP}"}
    assert scores.missing[f"language.{LANGUAGE_GROUP}"].startswith("its data cannot be loaded")
    assert scores.value("language") is None
    assert cached(scores.model, few_tasks, settings) is None, "what is missing is tried again"


UNREACHABLE = """
import sys
from pathlib import Path
from gem_core.evaluation.run import evaluate
from gem_core.recipe import Evaluation
from gem_core.settings import Settings
evaluation = Evaluation.model_validate({"sandbox": 7, "embedding": {"tasks": ["STSBenchmark", "SandboxSTS"]}})
print(evaluate(Path(sys.argv[1]), "a model", evaluation, Settings(home=Path(sys.argv[2]))).model_dump_json())
"""


@pytest.mark.slow
def test_data_that_cannot_be_reached_is_named_and_the_rest_goes_on(gem_folder, home, tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    program = [sys.executable, "-c", UNREACHABLE, str(gem_folder), str(home)]
    run = subprocess.run(program, capture_output=True, text=True, env=environment, check=True)
    scores = json.loads(run.stdout)
    assert set(scores["missing"]) == {"embedding.STSBenchmark"}
    assert "cannot be loaded" in scores["missing"]["embedding.STSBenchmark"]
    assert [score["task"] for score in scores["tasks"]] == ["SandboxSTS"]


def test_contributions_average_to_the_score(sandbox, evaluation, shared):
    scores = evaluate(sandbox.base_model, "the base", evaluation, shared)
    store = ScoreStore(shared.scores)
    by_task = {score.task: score for score in scores.tasks if score.read_out == "mean"}
    for task in ("SandboxClassification", "SandboxRetrieval"):
        items = store.items(by_task[task])[task]
        assert len(items) == by_task[task].items
        assert np.mean(list(items.values())) == pytest.approx(by_task[task].value, abs=1e-3)
    repetitions = [row["contribution"] for row in table(store, by_task["SandboxClustering"])]
    assert 100 * np.mean(repetitions) == pytest.approx(by_task["SandboxClustering"].value)
    assert store.items(by_task["SandboxSTS"]) is None
    pairs = store.predictions(by_task["SandboxSTS"])
    similarities, golds = zip(*pairs.values(), strict=True)
    assert len(pairs) == by_task["SandboxSTS"].items
    assert 100 * spearmanr(similarities, golds).statistic == pytest.approx(by_task["SandboxSTS"].value)
    assert store.predictions(by_task["SandboxRetrieval"]) is None


def test_a_folder_that_is_not_the_model_it_is_said_to_be_is_refused(gem_folder, few_tasks, settings):
    with pytest.raises(GemError, match="is not the model it is said to be"):
        evaluate(gem_folder, "a model", few_tasks, settings, digest="0" * 64)
    assert not settings.scores.exists()


def test_a_folder_that_changes_meanwhile_is_refused(gem_folder, few_tasks, settings, tmp_path):
    folder = shutil.copytree(gem_folder, tmp_path / "model")

    def change(message, _):
        if "loading" in message:
            content = json.loads((folder / "gem.json").read_text())
            (folder / "gem.json").write_text(json.dumps(content | {"seed": 99}))

    with pytest.raises(GemError, match="was changed while its measuring began"):
        evaluate(folder, "a model", few_tasks, settings, progress=change)


KILLED = """
import os, sys
from pathlib import Path
from gem_core.evaluation.run import evaluate
from gem_core.recipe import Evaluation
from gem_core.settings import Settings
import gem_core.evaluation.store as store
written = os.fsync
count = []
def fsync(number):
    count.append(number)
    if len(count) == 3:  # entry and records of the first task are there; the second's records are half written
        os.kill(os.getpid(), 9)
    written(number)
store.os.fsync = fsync
evaluation = Evaluation.model_validate(
    {"sandbox": 7, "embedding": {"tasks": ["SandboxSTS", "SandboxPairClassification"]}}
)
class Apart(Settings):
    @property
    def scores(self):
        return Path(sys.argv[3])
evaluate(Path(sys.argv[1]), "a model", evaluation, Apart(home=Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_process_killed_in_the_middle_of_a_task_loses_that_task_alone(gem_folder, home, settings):
    program = [sys.executable, "-c", KILLED, str(gem_folder), str(home), str(settings.scores)]
    killed = subprocess.run(program, capture_output=True, check=False)
    assert killed.returncode == -9
    kept = [path.name for path in settings.scores.rglob("*.json")]
    assert [name.split(".")[1] for name in kept] == ["SandboxSTS"]
    seen = []
    evaluation = Evaluation.model_validate(
        {"sandbox": SEED, "embedding": {"tasks": ["SandboxSTS", "SandboxPairClassification"]}}
    )
    scores = evaluate(gem_folder, "a model", evaluation, settings, progress=lambda *step: seen.append(step[0]))
    assert len(scores.tasks) == 2
    assert "SandboxPairClassification special" in seen
    assert "SandboxSTS special" not in seen
