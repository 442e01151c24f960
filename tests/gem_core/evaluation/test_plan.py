import subprocess
import sys
from importlib.metadata import version

import pytest

from gem_core.evaluation.plan import plan, read_outs
from gem_core.recipe import Evaluation

EVALUATION = {
    "embedding": {"tasks": ["STS12", "STSBenchmark"]},
    "language": {"tasks": ["blimp_adjunct_island"]},
}


def planned(**changes):
    content = EVALUATION | {
        key: EVALUATION.get(key, {}) | value if isinstance(value, dict) else value for key, value in changes.items()
    }
    return {task.metric: task.digest for task in plan(Evaluation.model_validate(content))}


def test_every_requested_task_is_planned_once():
    twice = planned(embedding={"tasks": ["STS12", "STSBenchmark", "STS12"]})
    assert list(twice) == ["embedding.STS12", "embedding.STSBenchmark", "language.blimp_adjunct_island"]
    assert twice == planned()
    assert len(set(twice.values())) == 3


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"dtype": "bfloat16"}, {"embedding", "language"}),
        ({"embedding": {"batch_size": 32}}, {"embedding"}),
        ({"embedding": {"max_length": 128}}, {"embedding"}),
        ({"embedding": {"languages": ["eng", "deu"]}}, {"embedding"}),
        ({"embedding": {"template": "Query: {text}"}}, {"embedding"}),
        ({"language": {"fewshot": 5}}, {"language"}),
        ({"language": {"limit": 10}}, {"language"}),
        ({"language": {"batch_size": 8}}, {"language"}),
        ({"sandbox": 1}, set()),
    ],
)
def test_what_can_move_a_score_moves_its_digest_and_no_other(changes, moved):
    before, after = planned(), planned(**changes)
    assert {metric.partition(".")[0] for metric in before if before[metric] != after[metric]} == moved


@pytest.mark.parametrize(
    ("library", "moved"),
    [
        ("mteb", {"embedding"}),
        ("scikit-learn", {"embedding"}),
        ("scipy", {"embedding"}),
        ("lm-eval", {"language"}),
        ("peft", {"embedding", "language", "generation"}),
        ("tokenizers", {"embedding", "language", "generation"}),
        ("torch", {"embedding", "language", "generation"}),
        ("transformers", {"embedding", "language", "generation"}),
    ],
)
def test_another_version_of_a_library_that_shapes_a_score_is_another_key(library, moved, monkeypatch):
    written = {"sandbox": 1, "generation": {"prompts": "sandbox"}}
    before = planned(**written)
    monkeypatch.setattr("gem_core.evaluation.plan.version", lambda name: "0.0" if name == library else version(name))
    after = planned(**written)
    assert {metric.partition(".")[0] for metric in before if before[metric] != after[metric]} == moved


def test_an_instruction_belongs_to_its_task():
    template = "Instruct: {instruction} Query: {text}"
    before = planned(embedding={"template": template})
    after = planned(embedding={"template": template, "instructions": {"STS12": "Find the same."}})
    assert {metric for metric in before if before[metric] != after[metric]} == {"embedding.STS12"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "Query:"}, "has no {text}"),
        ({"instructions": {"STS12": "Find."}}, "need {instruction}"),
        ({"template": "{instruction}: {text}", "instructions": {"STS21": "Find."}}, "STS21, which tasks does not ask"),
    ],
)
def test_a_template_without_its_places_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        planned(embedding=changes)


def test_another_library_is_another_measurement(monkeypatch):
    before = planned()
    monkeypatch.setattr("gem_core.evaluation.plan.version", lambda name: "9.9" if name == "mteb" else "1.0")
    after = planned()
    assert all(before[metric] != after[metric] for metric in before)
    monkeypatch.setattr("gem_core.evaluation.plan.version", lambda name: "1.0")
    assert planned()["language.blimp_adjunct_island"] == after["language.blimp_adjunct_island"]


def test_a_folder_says_how_its_texts_become_vectors(tmp_path):
    assert read_outs(tmp_path) == ("mean", "last")
    (tmp_path / "gem.json").write_text("{}")
    assert read_outs(tmp_path) == ("special",)


def test_asking_whether_a_model_is_measured_loads_no_heavy_library():
    program = """
import sys, tempfile, pathlib
from gem_core.evaluation.run import cached
from gem_core.recipe import Evaluation
from gem_core.settings import Settings
evaluation = Evaluation.model_validate({"sandbox": 1, "embedding": {"tasks": ["STS12", "SandboxSTS"]}})
assert cached("digest", evaluation, Settings(home=pathlib.Path(tempfile.mkdtemp()))) is None
print(sorted({"torch", "mteb", "lm_eval", "transformers", "datasets"} & sys.modules.keys()))
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
