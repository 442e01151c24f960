"""What a contrastive step costs: in lossless mode by how prefixes are read, in default mode by how the adapter is run.

    taskset -c 0 python benchmarks/training_step.py --rounds 3

One step's forward and backward pass, bfloat16 products, over rows of 4 to 64 tokens of which most are short; a random
Llama of the shape of gem-lab/english-12m, one thread. Every way is timed against the one that is shipped, both in
turns, and their losses are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from paired import ratios, whole
from shapes import random_base

from gem_core.method import folded_adapter, frozen_prefix
from gem_core.method.batches import Planner
from gem_core.method.model import GemModel
from gem_core.method.schedule import Weights
from gem_core.method.step import StepRunner
from gem_core.recipe import Adaptation, Objective, SpecialTokens, Training
from gem_core.sources.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gem_core.method.batches import Batch


@contextlib.contextmanager
def with_a_graph() -> Iterator[None]:
    """Whole rows run with a graph, as in default mode."""
    with mock.patch.object(frozen_prefix, "applies", return_value=False):
        yield


@contextlib.contextmanager
def calls_as_training(attention: bool) -> Iterator[None]:
    """Prefixes are read in the calls of their tails; with ``attention`` by the one that the tails use."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(frozen_prefix, "OVERHEAD_TOKENS", 600))
        stack.enter_context(mock.patch.dict(frozen_prefix.CALL_TOKENS, {"cpu": 10**9}))
        if attention:
            stack.enter_context(mock.patch.object(frozen_prefix, "without_gradient", return_value=torch.no_grad()))
        yield


@contextlib.contextmanager
def at_every_token() -> Iterator[None]:
    """Every token goes through the adapter's two matrices beside the base's one."""
    with mock.patch.object(folded_adapter, "folding_pays", return_value=False):
        yield


LOSSLESS: dict[str, Any] = {
    "whole rows with a graph": with_a_graph,
    "prefixes without, in the calls of their tails, plain attention": lambda: calls_as_training(attention=True),
    "the same, fused attention": lambda: calls_as_training(attention=False),
}
DEFAULT: dict[str, Any] = {"the adapter at every token": at_every_token}
CASES = [("lossless", "special", 320, LOSSLESS), ("default", "all", 320, DEFAULT), ("default", "all", 128, DEFAULT)]


def main() -> None:
    """Time every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = random_base("english-12m", folder)
        generator = np.random.default_rng(0)
        lengths = (4 + 60 * generator.beta(1.2, 3.5, size=4096)).astype(int)
        rows = Rows.write(folder / "rows", [generator.integers(2, 8000, size=length) for length in lengths])
        print("| mode, rank | way | CPU s a step | shipped, CPU s | ratio, CPU (95 % interval) | ratio, wall |")
        print("| --- | --- | --- | --- | --- | --- |")
        for mode, scope, rank, ways in CASES:
            adaptation = Adaptation(scope=scope, rank=rank, alpha=8 * rank)
            model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=adaptation, seed=1)
            batch = Planner(rows, Objective(), model.special_ids, options.rows, 1, None, None).batch(0)

            def step(model: GemModel = model, batch: Batch = batch) -> float:
                scale = torch.nn.Parameter(torch.tensor(math.log(20)))
                runner = StepRunner(model, Objective(), Training(), scale, torch.bfloat16)
                model.network.zero_grad(set_to_none=True)
                return runner.run(batch, Weights(contrastive=1)).contrastive

            shipped = step()
            for title, way in ways.items():

                def other(way: Any = way, step: Callable[[], float] = step) -> float:  # noqa: ANN401 - makes a context
                    with way():
                        return step()

                if not math.isclose(other(), shipped, rel_tol=0.02):
                    raise SystemExit("the two ways differ")
                found = ratios(whole(other), whole(step), options.rounds)
                cpu = found["cpu"]
                first = f"| {mode}, {rank} | {title} | {cpu.first:.2f} | {cpu.second:.2f} "
                print(f"{first}| {cpu} | {found['wall']} |", flush=True)


if __name__ == "__main__":
    main()
