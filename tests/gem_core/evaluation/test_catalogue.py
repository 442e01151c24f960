"""Names are sorted by what the installed libraries know; the list is asked of them once a version."""

import subprocess
import sys

import pytest

from gem_core.errors import GemError
from gem_core.evaluation import catalogue as module
from gem_core.evaluation.catalogue import (
    BenchmarkTask,
    EmbeddingNames,
    LanguageNames,
    benchmark_tasks,
    embedding_names,
    is_sandbox,
    language_names,
    sort_tasks,
    split_names,
)
from gem_core.evaluation.plan import plan
from gem_core.recipe.evaluation import Evaluation, suites

EMBEDDING = EmbeddingNames(
    tasks={"STSBenchmark": "STS", "STS12": "STS", "belebele": "Retrieval"},
    benchmarks={"MTEB(eng, v2)": (BenchmarkTask(task="STS12", subsets=("default",), splits=("test",)),)},
    unreadable=frozenset({"MIEB(eng)"}),
)
LANGUAGE = LanguageNames(folders={"mmlu": ("mmlu",), "blimp_passive_1": ("blimp",), "belebele": ("belebele",)})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home over libraries that know six tasks: what is tested is the sorting, not their lists."""
    monkeypatch.setattr(module, "_ask_mteb", lambda: EMBEDDING)
    monkeypatch.setattr(module, "_ask_lm_eval", lambda: LANGUAGE)
    monkeypatch.setattr(module, "_read", {})
    return tmp_path


def test_whoever_shares_the_home_may_read_the_names(home):
    language_names(home)
    (kept,) = (home / "catalogue").iterdir()
    assert kept.stat().st_mode & 0o044 == 0o044


def test_names_are_sorted_in_the_order_given_and_each_once(home):
    names = ["mmlu", "STS12", "MTEB(eng, v2)", "sandbox_mmlu", "SandboxSTS", "mmlu", "STSBenchmark"]
    assert sort_tasks(names, home) == (
        ("STS12", "MTEB(eng, v2)", "SandboxSTS", "STSBenchmark"),
        ("mmlu", "sandbox_mmlu"),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("STSBenchmrk", r"unknown evaluation task 'STSBenchmrk'; did you mean STSBenchmark"),
        ("stsbenchmark", r"did you mean STSBenchmark"),
        ("blimp_pasive_1", r"did you mean blimp_passive_1"),
        ("sandbox_mlu", r"did you mean sandbox_mmlu"),
        ("mteb(eng,v2)", r"did you mean MTEB\(eng, v2\)"),
        ("zzzz", r"unknown evaluation task 'zzzz'; see mteb's and lm-eval's list of tasks"),
        ("MIEB(eng)", r"asks for more than text"),
        ("belebele", r"both mteb and lm-eval .* write mteb:belebele or lm-eval:belebele"),
        ("mteb:mmlu", r"unknown embedding task 'mmlu'"),
        ("lm-eval:STS12", r"unknown language task 'STS12'"),
        ("", r"unknown evaluation task ''"),
    ],
)
def test_a_name_that_cannot_be_sorted_is_refused(home, name, message):
    with pytest.raises(GemError, match=message):
        sort_tasks(["STS12", name], home)


def test_a_library_can_be_named(home):
    assert sort_tasks(["mteb:belebele", "lm-eval:mmlu"], home) == (("belebele",), ("mmlu",))
    assert sort_tasks(["lm-eval:belebele"], home) == ((), ("belebele",))


def test_a_comma_in_parentheses_belongs_to_the_name():
    assert split_names(" MTEB(eng, v2),mmlu , ,STS12") == ["MTEB(eng, v2)", "mmlu", "STS12"]


def test_the_list_is_read_from_disk_and_a_damaged_one_is_made_anew(home, monkeypatch):
    assert embedding_names(home) == EMBEDDING
    (file,) = (home / "catalogue").iterdir()
    monkeypatch.setattr(module, "_read", {})
    monkeypatch.setattr(module, "_ask_mteb", pytest.fail)
    assert embedding_names(home) == EMBEDDING
    file.write_text("{")
    monkeypatch.setattr(module, "_read", {})
    monkeypatch.setattr(module, "_ask_mteb", lambda: EMBEDDING)
    assert embedding_names(home) == EMBEDDING
    assert len(list((home / "catalogue").iterdir())) == 1


def test_a_home_that_cannot_be_written_costs_only_time(home):
    (home / "catalogue").write_text("a file where the folder should be")
    assert language_names(home) == LANGUAGE


def test_another_version_is_another_list(home, monkeypatch):
    embedding_names(home)
    monkeypatch.setattr(module, "version", lambda name: "9.9")
    embedding_names(home)
    assert len(list((home / "catalogue").iterdir())) == 2


def test_sandbox_tasks_need_no_library(home, monkeypatch):
    monkeypatch.setattr(module, "_ask_mteb", pytest.fail)
    monkeypatch.setattr(module, "_ask_lm_eval", pytest.fail)
    assert sort_tasks(["SandboxSTS", "sandbox_mmlu"], home) == (("SandboxSTS",), ("sandbox_mmlu",))
    with pytest.raises(GemError, match="did you mean sandbox_mmlu"):
        sort_tasks(["sandbox_mlu"], home)


def test_a_benchmark_names_its_tasks(home):
    assert [part.task for part in benchmark_tasks("MTEB(eng, v2)", home)] == ["STS12"]
    with pytest.raises(GemError, match=r"unknown benchmark 'MTEB\(eng, v3\)'; did you mean MTEB\(eng, v2\)"):
        benchmark_tasks("MTEB(eng, v3)", home)
    with pytest.raises(GemError, match="asks for more than text"):
        benchmark_tasks("MIEB(eng)", home)


def test_an_instruction_for_a_task_of_no_benchmark_is_refused(home):
    asked = {"tasks": ["STSBenchmark"], "benchmarks": ["MTEB(eng, v2)"], "template": "{instruction}: {text}"}

    def planned(*tasks):
        instructions = dict.fromkeys(tasks, "Find the same.")
        return plan(Evaluation.model_validate({"embedding": {**asked, "instructions": instructions}}), home)

    bare, instructed = planned(), planned("STS12", "STSBenchmark")
    assert [task.task for task in bare] == ["STSBenchmark", "STS12"]
    assert not {task.digest for task in bare} & {task.digest for task in instructed}
    for wrong, guess in (
        ("STS21", "ask for; did you mean STS12"),
        ("sts12", "ask for; did you mean STS12"),
        ("Zz", "ask for$"),
    ):
        with pytest.raises(GemError, match=f"names {wrong!r}, which neither tasks nor benchmarks {guess}"):
            planned("STS12", wrong)


def test_sorting_known_names_loads_no_heavy_library(home):
    sort_tasks(["STS12", "mmlu"], home)
    program = """
import pathlib, sys
from gem_core.evaluation.catalogue import sort_tasks
assert sort_tasks(["STS12", "mmlu"], pathlib.Path(sys.argv[1])) == (("STS12",), ("mmlu",))
print(sorted({"torch", "mteb", "lm_eval", "transformers", "datasets"} & sys.modules.keys()))
"""
    shown = subprocess.run([sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.hub
def test_the_installed_libraries_know_what_recipes_ask_for():
    embedding, language = module._ask_mteb(), module._ask_lm_eval()
    assert embedding.tasks["STSBenchmark"] == "STS"
    (sts17,) = (part for part in embedding.benchmarks["MTEB(eng, v2)"] if part.task == "STS17")
    assert (sts17.subsets, sts17.splits) == (("en-en",), ("test",))
    assert embedding.benchmarks["MTEB(eng)"] == embedding.benchmarks["MTEB(eng, v2)"]
    assert "MIEB(eng)" in embedding.unreadable
    assert language.folders["mmlu"] == ("mmlu",)
    assert language.folders["ai2_arc"] == ("arc",)
    for name in suites():
        evaluation = Evaluation(suite=name)
        assert all(is_sandbox(task) or task in embedding.tasks for task in evaluation.embedding.tasks)
        assert all(benchmark in embedding.benchmarks for benchmark in evaluation.embedding.benchmarks)
        assert all(is_sandbox(task) or task in language.folders for task in evaluation.language.tasks)
