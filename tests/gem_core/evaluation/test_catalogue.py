"""Names are sorted by what the installed libraries know; the list is asked of them once a version."""

import subprocess
import sys

import pytest

from gem_core.errors import GemError
from gem_core.evaluation import catalogue as module
from gem_core.evaluation.catalogue import BenchmarkTask, Catalogue, catalogue, sort_tasks, split_names

KNOWN = Catalogue(
    embedding={"STSBenchmark": "STS", "STS12": "STS", "belebele": "Retrieval"},
    unreadable=frozenset({"MIEB(eng)"}),
    benchmarks={
        "MTEB(eng, v2)": (BenchmarkTask(task="STS12", subsets=("default",), splits=("test",), category="STS"),)
    },
    language=frozenset({"mmlu", "blimp_passive_1", "belebele"}),
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home over libraries that know five tasks: what is tested is the sorting, not their lists."""
    monkeypatch.setattr(module, "_ask_the_libraries", lambda: KNOWN)
    module._catalogue.cache_clear()
    yield tmp_path
    module._catalogue.cache_clear()


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
    assert catalogue(home) == KNOWN
    (file,) = (home / "catalogue").iterdir()
    module._catalogue.cache_clear()
    monkeypatch.setattr(module, "_ask_the_libraries", pytest.fail)
    assert catalogue(home) == KNOWN
    file.write_text("{")
    module._catalogue.cache_clear()
    monkeypatch.setattr(module, "_ask_the_libraries", lambda: KNOWN)
    assert catalogue(home) == KNOWN
    assert len(list((home / "catalogue").iterdir())) == 1


def test_a_home_that_cannot_be_written_costs_only_time(home):
    (home / "catalogue").write_text("a file where the folder should be")
    assert catalogue(home) == KNOWN


def test_another_version_is_another_list(home, monkeypatch):
    catalogue(home)
    monkeypatch.setattr(module, "version", lambda name: "9.9")
    catalogue(home)
    assert len(list((home / "catalogue").iterdir())) == 2


def test_sandbox_tasks_need_no_library(home, monkeypatch):
    monkeypatch.setattr(module, "_ask_the_libraries", pytest.fail)
    assert sort_tasks(["SandboxSTS", "sandbox_mmlu"], home) == (("SandboxSTS",), ("sandbox_mmlu",))


def test_sorting_known_names_loads_no_heavy_library(home):
    catalogue(home)
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
    found = module._ask_the_libraries()
    assert found.embedding["STSBenchmark"] == "STS"
    assert {"mmlu", "arc_easy", "lambada_openai", "blimp_passive_1"} <= found.language
    (sts17,) = (task for task in found.benchmarks["MTEB(eng, v2)"] if task.task == "STS17")
    assert (sts17.subsets, sts17.splits) == (("en-en",), ("test",))
    assert found.benchmarks["MTEB(eng)"] == found.benchmarks["MTEB(eng, v2)"]
    assert "MIEB(eng)" in found.unreadable
