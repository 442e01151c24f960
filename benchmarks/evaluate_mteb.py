"""Embedding tasks: our evaluation against ``mteb.evaluate`` with mteb's plain sentence-transformers wrapper.

    HF_ENDPOINT=... python benchmarks/evaluate_mteb.py --model gem-lab/english-12m --rounds 3

Both sides measure the same folder, mean-pooled, in the same dtype, on the same tasks, with the same batch size and the
same cut, in one process, taking turns; data is downloaded before the clocks start. A side's time is everything from an
unloaded model to written scores. Prints one row a task with both scores and both times, then the ratios of the total
times, by the wall and of the processor, with their intervals (of the mean over rounds, Student's t on logarithms).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

TASKS = "STSBenchmark,STS12,STS13,Banking77Classification,EmotionClassification,TwentyNewsgroupsClustering.v2"


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gem-lab/english-12m", help="a plain base model: hub id or folder")
    parser.add_argument("--tasks", default=TASKS, help="mteb task names, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--json", type=Path, help="also write everything measured to this file")
    options = parser.parse_args()

    import mteb

    from gem_core.evaluation.quiet import quiet
    from gem_core.settings import Settings
    from gem_core.sources.models import locate

    names = options.tasks.split(",")
    folder = locate(options.model, Settings())
    with quiet():
        for name in names:
            mteb.get_task(name, languages=["eng"]).load_data()
        rounds = []
        for number in range(options.rounds):
            sides = {}
            for side in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
                sides[side] = (plain if side == "plain" else ours)(folder, names, options)
            rounds.append(sides)
            shown = (f"{side} {one['wall']:.1f} s ({one['cpu']:.1f} CPU s)" for side, one in sides.items())
            print(f"round {number + 1}: {', '.join(shown)}", flush=True)
    report(names, rounds)
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1))


def plain(folder: Path, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Plain mteb: its own wrapper around a sentence-transformers model that pools by the mean."""
    import mteb
    import torch
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    began = clocks()
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[options.dtype]
    transformer = Transformer(str(folder), max_seq_length=options.max_length, model_args={"dtype": dtype})
    pooling = Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformerEncoderWrapper(SentenceTransformer(modules=[transformer, pooling]))
    seconds, scores = {}, {}
    for name in names:
        start = clocks()
        with tempfile.TemporaryDirectory() as predictions:
            results = mteb.evaluate(
                model,
                mteb.get_task(name, languages=["eng"], exclusive_language_filter=True),
                encode_kwargs={"batch_size": options.batch_size, "show_progress_bar": False},
                cache=None,
                co2_tracker=False,
                prediction_folder=predictions,
                show_progress_bar=False,
            )
        scores[name] = 100 * float(results.task_results[0].get_score())
        seconds[name] = since(start)
    return since(began) | {"seconds": seconds, "scores": scores}


def ours(folder: Path, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The platform's suite, its scores and per-item records written to an empty store."""
    from gem_core.evaluation.mteb import EmbeddingSuite, EmbeddingTasks
    from gem_core.evaluation.plan import plan
    from gem_core.evaluation.store import ScoreStore
    from gem_core.method.model import GemModel
    from gem_core.recipe import Evaluation
    from gem_core.settings import Settings

    began = clocks()
    evaluation = Evaluation.model_validate(
        {
            "dtype": options.dtype,
            "embedding": {"tasks": names, "batch_size": options.batch_size, "max_length": options.max_length},
        }
    )
    model = GemModel.load(folder, settings=Settings(), dtype=options.dtype)
    suite = EmbeddingSuite(model, str(model.digest), EmbeddingTasks(Settings().home), ["mean"])
    seconds, scores = {}, {}
    with tempfile.TemporaryDirectory() as home:
        store = ScoreStore(Path(home))
        for planned in plan(evaluation):
            start = clocks()
            entry = store.save(str(model.digest), planned, "mean", suite.measure(planned, "mean"))
            scores[planned.task] = entry.scores[0].value
            seconds[planned.task] = since(start)
    return since(began) | {"seconds": seconds, "scores": scores}


def clocks() -> dict[str, float]:
    """The wall clock, and the processor time of this process: what a busy machine moves less."""
    return {"wall": time.perf_counter(), "cpu": time.process_time()}


def since(start: dict[str, float]) -> dict[str, float]:
    """Seconds by each clock."""
    return {clock: now - start[clock] for clock, now in clocks().items()}


def report(names: list[str], rounds: list[dict]) -> None:
    """The tables."""
    print("\n| task | plain, points | ours, points | difference | plain, CPU s | ours, CPU s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        score = {side: rounds[0][side]["scores"][name] for side in ("plain", "ours")}
        spent = {side: np.mean([one[side]["seconds"][name]["cpu"] for one in rounds]) for side in ("plain", "ours")}
        print(
            f"| {name} | {score['plain']:.4f} | {score['ours']:.4f} | {score['ours'] - score['plain']:+.1e} "
            f"| {spent['plain']:.1f} | {spent['ours']:.1f} | {spent['ours'] / spent['plain']:.2f} |"
        )
    for clock, label in (("wall", "wall times"), ("cpu", "CPU times")):
        ratios = [one["ours"][clock] / one["plain"][clock] for one in rounds]
        print(f"\nratio of the total {label}, ours / plain: {interval(ratios)}")


def interval(ratios: list[float]) -> str:
    """Geometric mean and its 95 % interval."""
    logs = np.log(ratios)
    if len(logs) < 2:
        return f"{np.exp(logs.mean()):.3f} (one round)"
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, high = np.exp([logs.mean() - half, logs.mean() + half])
    return f"{np.exp(logs.mean()):.3f} (95 % interval {low:.3f} to {high:.3f}, {len(logs)} rounds)"


if __name__ == "__main__":
    main()
