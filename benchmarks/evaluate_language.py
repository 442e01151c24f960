"""Language tasks: our evaluation against the ``lm_eval`` command with its ``hf`` model.

    HF_ENDPOINT=... python benchmarks/evaluate_language.py --model gem-lab/english-12m --rounds 3

Both sides are whole commands, started as a person starts them and taking turns: ``lm_eval --model hf`` and
``gem evaluate`` with an empty score store. Data is downloaded by a first round that is not counted. Prints both
accuracies of every task, then the ratio of the wall times with its interval (Student's t on logarithms).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from evaluate_mteb import interval

CASES = {
    "blimp": ("blimp_passive_1", None, None),
    "arc_easy": ("arc_easy", 0, 200),
    "mmlu": ("mmlu_abstract_algebra,mmlu_high_school_geography,mmlu_marketing", 2, None),
}
"""Name to tasks, examples and limit. english-12m reads 512 tokens, room for two of MMLU's five examples."""


def main() -> None:
    """Run all cases and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gem-lab/english-12m", help="a hub id or folder")
    parser.add_argument("--cases", default=",".join(CASES), help="which of the cases, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--downloaded", action="store_true", help="the data is there: no first round for it")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()

    from gem_core.settings import Settings
    from gem_core.sources.models import locate

    folder = locate(options.model, Settings())
    for name in options.cases.split(","):
        tasks, fewshot, limit = CASES[name]
        ratios: list[float] = []
        cpu_ratios: list[float] = []
        for number in range(int(options.downloaded), options.rounds + 1):
            spent, cpu, accuracies = {}, {}, {}
            for side in (plain, ours) if number % 2 == 0 else (ours, plain):
                with tempfile.TemporaryDirectory() as scratch:
                    began, used = time.perf_counter(), _cpu()
                    accuracies[side.__name__] = side(folder, tasks, fewshot, limit, options.batch_size, Path(scratch))
                    spent[side.__name__] = time.perf_counter() - began
                    cpu[side.__name__] = _cpu() - used
            if number:
                ratios.append(spent["ours"] / spent["plain"])
                cpu_ratios.append(cpu["ours"] / cpu["plain"])
                sides = (("lm_eval", "plain"), ("gem evaluate", "ours"))
                shown = (f"{label} {spent[side]:.1f} s ({cpu[side]:.1f} CPU s)" for label, side in sides)
                print(f"{name}: {', '.join(shown)}", flush=True)
        print(f"\n| {name} | lm_eval, % | gem evaluate, % |\n|---|---|---|")
        for task in tasks.split(","):
            print(f"| {task} | {accuracies['plain'][task]:.4f} | {accuracies['ours'][task]:.4f} |")
        print(f"\n{name}: ratio of the wall times, gem evaluate / lm_eval: {interval(ratios)}")
        print(f"{name}: ratio of the CPU times, which a busy machine moves less: {interval(cpu_ratios)}\n", flush=True)


def plain(
    folder: Path, tasks: str, fewshot: int | None, limit: int | None, batch_size: int, scratch: Path
) -> dict[str, float]:
    """The harness's own command; accuracies in percent."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", *tasks.split(",")]
    command += ["--model_args", f"pretrained={folder},dtype=float32", "--batch_size", str(batch_size)]
    command += ["--output_path", str(scratch), "--log_samples"]  # records of every question, as ours has them
    command += ["--num_fewshot", str(fewshot)] if fewshot is not None else []
    command += ["--limit", str(limit)] if limit is not None else []
    _run(command, scratch)
    (results,) = scratch.rglob("results_*.json")
    return {task: 100 * found["acc,none"] for task, found in json.loads(results.read_text())["results"].items()}


def ours(
    folder: Path, tasks: str, fewshot: int | None, limit: int | None, batch_size: int, scratch: Path
) -> dict[str, float]:
    """The platform's command with nothing cached but the catalogue of task names; accuracies in percent."""
    language = {"tasks": tasks.split(","), "fewshot": fewshot, "limit": limit, "batch_size": batch_size}
    recipe = scratch / "recipe.yaml"
    needed = {"name": "speed", "base_model": {"source": str(folder)}, "data": {"sources": [{"source": "none.txt"}]}}
    recipe.write_text(json.dumps(needed | {"evaluation": {"language": language}}))
    command = [sys.executable, "-m", "flows.cli", "evaluate", str(folder), "--suite", str(recipe), "--json"]
    shown = json.loads(_run(command, scratch))
    return {score["task"]: score["value"] for score in shown["tasks"] if score["metric"] == "acc"}


def _cpu() -> float:
    """CPU seconds of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: list[str], scratch: Path) -> str:
    from gem_core.settings import Settings

    home = scratch / "home"
    home.mkdir()
    known = Settings().home / "catalogue"
    if known.is_dir():
        (home / "catalogue").symlink_to(known)
    environment = os.environ | {"GEM_HOME": str(home)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


if __name__ == "__main__":
    main()
