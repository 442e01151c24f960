import json
import math
import platform
from types import SimpleNamespace

import pytest

from flows import figures
from flows.timing import Stopwatch
from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.recipe import Evaluation
from gem_core.recipe.gates import Gate
from gem_core.settings import Settings
from gem_core.sources.rows import Rows
from ray_jobs.jobs import Figures, FiguresJob

BUDGETS = [
    Gate(name="clean", metric="contamination.share", against="threshold", at_most=0.1),
    Gate(name="small", metric="memory.weights_mb", against="threshold", at_most=100),
]


def run_of(tmp_path, gates, texts, monkeypatch):
    """A run whose evaluation measures on these texts."""
    monkeypatch.setattr("gem_core.evaluation.texts.evaluation_texts", lambda *_: (("task", text) for text in texts))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda _: Words())
    for folder, size in (("base", 3_000_000), ("model", 500_000)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights.safetensors").write_bytes(b"\0" * size)
    recipe = SimpleNamespace(gates=gates, evaluation=None)
    base = SimpleNamespace(folder=tmp_path / "base")
    return SimpleNamespace(recipe=recipe, settings=None, folder=tmp_path, model=tmp_path / "model", base=base)


class Words:
    """Token ids are word numbers."""

    def decode(self, tokens, **_):
        return " ".join(f"w{token}" for token in tokens)


def test_figures_are_measured_where_a_gate_asks_for_them(tmp_path, monkeypatch):
    data = SimpleNamespace(folder=tmp_path / "data")
    Rows.write(data.folder, [[1, 2, 3, 4, 5], [6, 7, 8, 9]])
    run = run_of(tmp_path, BUDGETS, ["w2 w3 w4 w5", "w5 w6 w7 w8", "w6 w7 w8 w9"], monkeypatch)
    (run.model / "adapter_config.json").write_text("{}")
    assert figures.measure(run, data, "digest", None).figures == {
        "contamination.share": 2 / 3,
        "memory.weights_mb": 3.5,
    }
    shown = json.loads((tmp_path / "contamination.json").read_text())
    assert shown["examples"] == ["w2 w3 w4 w5", "w6 w7 w8 w9"]
    run.recipe.gates = ()
    assert figures.measure(run, data, "digest", None).figures == {}


def test_items_too_short_to_tell_are_written_as_json_knows_it(tmp_path, monkeypatch):
    Rows.write(tmp_path / "data", [[1, 2, 3, 4, 5]])
    run = run_of(tmp_path, BUDGETS[:1], ["w2 w3"], monkeypatch)
    (share,) = figures.measure(run, SimpleNamespace(folder=tmp_path / "data"), "digest", None).figures.values()
    assert math.isnan(share)  # the gate is inconclusive
    written = (tmp_path / "contamination.json").read_text()
    assert json.loads(written, parse_constant=pytest.fail)["share"] is None


def scored(*tasks):
    """A candidate's scores on tasks, and an evaluation that asks for them."""
    one = TaskScore(task="", kind="embedding", read_out="special", metric="m", value=1.0, items=1, settings="s")
    scores = Scores(model="d", reference="d", tasks=tuple(one.model_copy(update={"task": task}) for task in tasks))
    return scores, Evaluation.model_validate({"embedding": {"tasks": tasks}})


def test_a_task_that_was_measured_and_is_out_of_reach_by_now_leaves_the_overlap_unknown(tmp_path, monkeypatch):
    """Its texts may all have been read: those of the other tasks say nothing of them."""
    Rows.write(tmp_path / "data", [[1, 2, 3, 4, 5]])
    data = SimpleNamespace(folder=tmp_path / "data")
    run = run_of(tmp_path, BUDGETS[:1], ["w6 w7 w8 w9"], monkeypatch)
    run.settings = Settings(home=tmp_path)
    for tasks, expected in ((("task", "STS12"), {}), (("task",), {"contamination.share": 0.0})):
        scores, run.recipe.evaluation = scored(*tasks)
        assert figures.measure(run, data, "digest", None, scores=scores).figures == expected
        shown = json.loads((tmp_path / "contamination.json").read_text())
        assert (shown["share"], shown.get("unreachable")) == ((None, ["STS12"]) if not expected else (0.0, None))


def test_full_weights_need_no_base(tmp_path, monkeypatch):
    run = run_of(tmp_path, BUDGETS[1:], [], monkeypatch)
    assert figures.measure(run, None, "digest", None).figures == {"memory.weights_mb": 0.5}


def test_what_needs_the_model_at_work_is_a_job_and_known_on_its_machine(tmp_path, monkeypatch):
    run = run_of(
        tmp_path, [Gate(name="quick", metric="latency.text_ms", against="threshold", at_most=5)], [], monkeypatch
    )
    run.recipe.resources = SimpleNamespace(workers=2, cpus_per_worker=1)
    run.recipe.evaluation = SimpleNamespace(dtype="float32")
    run.settings = SimpleNamespace(home=tmp_path, ray_address=None)
    run.key, run.watch = "run", Stopwatch()
    took = {f"{platform.node()}, 2 threads": 3.0}
    begun = []

    def job(_ray, module, path, *_, **__):
        begun.append(module)
        asked = FiguresJob.read(path)
        assert (asked.metrics, asked.threads) == (("latency.text_ms",), 2)
        ((machine, value),) = took.items()
        Figures(job=asked, figures={"latency.text_ms": value}, machine=machine).write(asked.result_path(path))

    monkeypatch.setattr(figures, "work", job)
    first = figures.measure(run, None, "d" * 64, None)
    assert (first.figures, first.machine) == ({"latency.text_ms": 3.0}, next(iter(took)))
    assert figures.measure(run, None, "d" * 64, None) == first
    assert begun == ["ray_jobs.figures"], "known"
    figures.measure(run, None, "e" * 64, None)
    assert len(begun) == 2, "another model"
    took = {"elsewhere, 2 threads": 1.0}
    figures.measure(run, None, "f" * 64, None)
    figures.measure(run, None, "f" * 64, None)
    assert len(begun) == 4, "what another machine took says nothing here"
