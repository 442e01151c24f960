"""What gradient caching saves: peak memory of a contrastive step at batch 32, and at one of 1,024 rows.

    python benchmarks/gradient_cache.py

Every step runs in a process of its own, on a random Llama of the shape of gem-lab/english-12m with LoRA, in float32 on
the CPU, over rows of 4 to 64 tokens. Counted is the peak resident memory less what the process held before its steps.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from shapes import random_base

SETTINGS = [(32, None), (32, 32), (1024, 32)]
"""Rows of the contrastive batch (two views each), and ``training.rows_at_once``."""


def measure(batch: int, at_once: int | None, steps: int) -> dict[str, float]:
    """Run contrastive steps of one setting in this process."""
    import time

    import numpy as np
    import torch

    from gem_core.method.batches import Planner
    from gem_core.method.model import GemModel
    from gem_core.method.schedule import Weights
    from gem_core.method.step import StepRunner
    from gem_core.recipe import Adaptation, Objective, SpecialTokens, Training
    from gem_core.sources.rows import Rows

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = random_base("english-12m", folder)
        model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=Adaptation(), seed=1)
        generator = np.random.default_rng(0)
        lengths = generator.integers(4, 65, size=4096)
        rows = Rows.write(folder / "rows", [generator.integers(2, 8000, size=length) for length in lengths])
        objective = Objective()
        plan = Planner(rows, objective, model.special_ids, batch, 1, None, None)
        scale = torch.nn.Parameter(torch.tensor(math.log(20)))
        runner = StepRunner(model, objective, Training(rows_at_once=at_once), scale, None)
        before = peak()
        started = time.monotonic()
        for step in range(steps):
            runner.run(plan.batch(step), Weights(contrastive=1))
        return {"step": peak() - before, "process": peak(), "seconds": (time.monotonic() - started) / steps}


def peak() -> float:
    """The largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("BATCH", "ROWS_AT_ONCE"), help="a single setting, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        batch, at_once = (int(value) for value in arguments.one)
        print(json.dumps(measure(batch, at_once or None, arguments.steps)))
        return
    print("| contrastive batch | rows at once | step, MiB | times batch 32 | whole process, MiB | seconds a step |")
    print("| --- | --- | --- | --- | --- | --- |")
    first = None
    for batch, at_once in SETTINGS:
        command = [sys.executable, __file__, "--steps", str(arguments.steps), "--one", str(batch), str(at_once or 0)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(run.stdout.splitlines()[-1])
        first = first or found["step"]
        print(
            f"| {batch:,} | {at_once or 'all'} | {found['step']:.0f} | {found['step'] / first:.2f} | "
            f"{found['process']:.0f} | {found['seconds']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
