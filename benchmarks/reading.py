"""What one prefill for both jobs saves: ``read`` then ``generate``, against ``encode`` and ``generate`` apart.

    python benchmarks/reading.py

A random Llama of the shape of gem-lab/english-12m in lossless mode, in float32 on the CPU; medians over repeated calls,
both sides in one run, taken in turn. Embeddings and texts of both sides are compared.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from shapes import random_base

from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, SpecialTokens

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Measure every length of prompt and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--new", type=int, default=4, help="tokens to generate")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = random_base("english-12m", Path(folder))
        adaptation = Adaptation(scope="special")
        model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=adaptation, seed=1)
    model.network.eval()
    print(f"| prompt tokens | encode + generate {options.new}, ms | read + generate {options.new}, ms | times faster |")
    print("| --- | --- | --- | --- |")
    for length in (64, 256, 1024):
        text = " ".join(f"w{number}" for number in np.random.default_rng(0).integers(2, 8000, size=length))

        def apart(text: str = text) -> tuple[np.ndarray, str]:
            return model.encode([text], max_length=2048)[0], model.generate(text, max_new_tokens=options.new)

        def together(text: str = text) -> tuple[np.ndarray, str]:
            reading = model.read(text)
            return reading.embedding, model.generate(reading, max_new_tokens=options.new)

        (one, written), (two, same) = apart(), together()
        if written != same or not np.allclose(one, two, atol=1e-5):
            raise SystemExit("the two ways differ")
        spent: dict[Callable[[], object], list[float]] = {apart: [], together: []}
        for _ in range(options.repeats):
            for way, times in spent.items():
                started = time.perf_counter()
                way()
                times.append((time.perf_counter() - started) * 1000)
        first, second = (statistics.median(times) for times in spent.values())
        print(f"| {length} | {first:.1f} | {second:.1f} | {first / second:.2f} |", flush=True)


if __name__ == "__main__":
    main()
