"""``GemModel.encode`` against ``SentenceTransformer.encode``: the same exported weights, texts, precision, batch size.

    HF_ENDPOINT=... python benchmarks/encode.py --batch-size 32

Both sides run in one process, in turns, over distinct texts of mixed length: a quarter passages of books, a quarter
single sentences of books, half sentences of STSBenchmark. The model is the base with new special tokens, untrained: its
speed is that of a trained one. The vectors are compared before anything is timed. ``--shape llama-3.2-1b`` takes random
weights and random words of 8 to 256 tokens instead, for a machine without a hub.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from datasets import load_dataset
from paired import ratios, table, whole
from sentence_transformers import SentenceTransformer
from shapes import SHAPES, random_base, random_rows

from gem_core.export import export
from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, BaseModelSource, SpecialTokens
from gem_core.settings import Settings
from gem_core.sources.models import resolve


def main() -> None:
    """Compare vectors, then speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="gem-lab/english-12m", help="the base model")
    parser.add_argument("--shape", choices=SHAPES, help="random weights and texts in this shape, instead of --base")
    parser.add_argument("--texts", type=int, default=512, help="distinct texts")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--special-tokens", type=int, default=1, help="k")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = models(options, Path(folder), device)
    texts = (
        [" ".join(f"w{token}" for token in row) for row in random_rows(options.shape, options.texts, 8, 256)]
        if options.shape
        else mixed(options.texts)
    )
    one = ours.encode(texts, batch_size=options.batch_size)
    two = theirs.encode(texts, batch_size=options.batch_size, show_progress_bar=False)
    lengths = [len(row) for row in ours.tokenizer(texts)["input_ids"]]
    print(f"{device}, {options.dtype}, {len(texts)} texts, {sum(lengths)} tokens, batches of {options.batch_size}")
    print(f"largest difference between two vectors: {np.abs(one - two).max():.1e}\n")
    found = ratios(
        whole(lambda: theirs.encode(texts, batch_size=options.batch_size, show_progress_bar=False)),
        whole(lambda: ours.encode(texts, batch_size=options.batch_size)),
        options.rounds,
    )
    table(found, ("SentenceTransformer", "GemModel"), sum(lengths), "tokens")


def models(options: argparse.Namespace, folder: Path, device: str) -> tuple[GemModel, SentenceTransformer]:
    """The same weights in both libraries."""
    settings = Settings()
    base = (
        random_base(options.shape, folder / "base")
        if options.shape
        else resolve(BaseModelSource(source=options.base), settings)
    )
    special, adaptation = SpecialTokens(count=options.special_tokens), Adaptation()
    GemModel.from_base(base, special_tokens=special, adaptation=adaptation, seed=1).save(folder / "model")
    export(folder / "model", folder / "exported", "sentence-transformers", settings=settings, dtype=options.dtype)
    theirs = SentenceTransformer(str(folder / "exported"), device=device, trust_remote_code=special.count > 1)
    return GemModel.load(folder / "model", settings=settings, device=device, dtype=options.dtype), theirs


def mixed(count: int) -> list[str]:
    """Distinct texts of mixed length in a fixed random order."""
    pairs = load_dataset("mteb/stsbenchmark-sts", split="test")
    passages = load_dataset("gem-lab/books-passages", split="validation")["text"]
    sentences = load_dataset("gem-lab/books-sentences", split="train")["text"]
    similar = list(dict.fromkeys([*pairs["sentence1"], *pairs["sentence2"]]))
    chosen = [*passages[: count // 4], *sentences[: count // 4], *similar[: count - 2 * (count // 4)]]
    return [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))]


if __name__ == "__main__":
    main()
