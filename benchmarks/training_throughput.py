r"""Our training on next-token rows against ``transformers.Trainer`` fine-tuning the same model causally.

    HF_ENDPOINT=... python benchmarks/training_throughput.py --batch-size 32 --grouped
    python benchmarks/training_throughput.py --shape llama-3.2-1b --precision bfloat16 --peak-tflops 989 \
        --raw-share 0 --attention flex_attention --max-length 512

Both sides run in one process, in turns, over the very same rows of books' sentences and passages, with the same
precision, optimizer (AdamW, fused), clipping and trained weights (``--method full`` or ``lora``). With ``--grouped``
the Trainer's batches are those of its ``train_sampling_strategy="group_by_length"`` over a pool of 200 batches, taken
evenly; without, both have the same batches. Counted are real tokens, pads and special tokens left out. A round's first
step (warm-up) and last one (our checkpoint) are not timed. What saves the time: rows go through the network in calls
of similar length, raw ones without a mask, and logits are made of predicted tokens alone.

``--shape`` takes random weights and rows instead, for a machine without a hub, and reports utilisation. With
``--raw-share 0`` every row of ours has a special token and the GEM mask (continuation rows).
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from paired import Clocked, ratios, table
from shapes import SHAPES, random_base, random_rows, training_flops, utilisation
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from gem_core.method.batches import Planner
from gem_core.method.model import DTYPES
from gem_core.method.training import StepReport, train
from gem_core.recipe import BaseModelSource, Recipe
from gem_core.settings import Settings
from gem_core.sources.models import ResolvedModel, resolve
from gem_core.sources.rows import Rows


def main() -> None:
    """Print both sides' real tokens a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="gem-lab/english-12m", help="the base model")
    parser.add_argument("--shape", choices=SHAPES, help="random weights and rows in this shape, instead of --base")
    parser.add_argument("--method", default="full", choices=["full", "lora"])
    parser.add_argument("--grouped", action="store_true", help="the Trainer's rows grouped by length")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--passages", type=float, default=0.2, help="share of passages among the rows")
    parser.add_argument("--min-length", type=int, default=8, help="of random rows")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--raw-share", type=float, default=1.0, help="of our rows; the others have special tokens")
    parser.add_argument("--attention", default="sdpa", help="our side's")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--peak-tflops", type=float, help="of the device in this precision, for utilisation")
    parser.add_argument("--steps", type=int, default=6, help="a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        base, pool = base_and_rows(options, Path(folder))
        theirs, chosen = trainer_batches(pool, options)
        recipe = a_recipe(options)
        rows = Rows.write(Path(folder) / "rows", chosen)
        planner = Planner(rows, recipe.objective, (), options.batch_size, recipe.seed, None, None)
        planned = [planner.batch(step) for step in range(options.steps)]
        batches = [[[*s.tokens.tolist()] for s in (*batch.raw, *batch.special)] for batch in planned]
        theirs = theirs or batches
        found = ratios(
            lambda: trainer(base, theirs, options, folder),
            lambda: ours(recipe, base, rows, batches, Path(folder)),
            options.rounds,
        )
    real = real_tokens(theirs)
    padded = sum(len(batch) * max(map(len, batch)) for batch in theirs[1:-1])
    grouped = ", grouped by length" if options.grouped else ""
    print(f"{options.shape or options.base}, {options.method}, {options.precision}, batches of {options.batch_size}")
    print(f"the Trainer's batches{grouped} hold {padded / real:.2f} times their real tokens with their pads\n")
    table(found, ("transformers.Trainer", "GEM"), 1, "tokens")
    if options.shape:
        flops = training_flops(options.shape, options.method, real / sum(len(batch) for batch in theirs[1:-1]))
        for side, seconds in (("Trainer", found["wall"].first), ("GEM", found["wall"].second)):
            print(f"{side}: {utilisation(1 / seconds, flops, options.peak_tflops)}")


def real_tokens(batches: list[list[list[int]]]) -> int:
    """Of the steps that are timed."""
    return sum(len(row) for batch in batches[1:-1] for row in batch)


def base_and_rows(options: argparse.Namespace, folder: Path) -> tuple[ResolvedModel, list[list[int]]]:
    """The base model and a pool of rows, shuffled."""
    count = (200 if options.grouped else options.steps) * options.batch_size
    if options.shape:
        rows = random_rows(options.shape, count, options.min_length, options.max_length)
        return random_base(options.shape, folder / "base"), rows
    base = resolve(BaseModelSource(source=options.base), Settings())
    return base, tokenized(base.folder, count, options)


def trainer_batches(
    pool: list[list[int]], options: argparse.Namespace
) -> tuple[list[list[list[int]]] | None, list[list[int]]]:
    """The Trainer's batches where they are grouped, and the rows that both sides read."""
    if not options.grouped:
        return None, pool
    size, generator = options.batch_size, torch.Generator().manual_seed(0)
    order = get_length_grouped_indices([len(row) for row in pool], size, generator=generator)
    every = [[pool[i] for i in order[start : start + size]] for start in range(0, len(order), size)]
    places = np.linspace(0, len(every) - 1, options.steps).round().astype(int)
    batches = [every[place] for place in np.random.default_rng(0).permutation(places)]
    return batches, [row for batch in batches for row in batch]


def a_recipe(options: argparse.Namespace) -> Recipe:
    """Next-token rows alone: no contrastive part, no divergence from the base."""
    return Recipe.model_validate(
        {
            "name": "throughput",
            "base_model": {"source": options.shape or options.base},
            "data": {"sources": [{"source": "gem-lab/books-sentences"}], "max_length": options.max_length},
            "adaptation": {"method": options.method},
            "objective": {
                "raw_share": options.raw_share,
                "reconstruction_share": 0.0,
                "contrastive": {"rows": "none"},
            },
            "training": {
                "steps": options.steps,
                "batch_size": options.batch_size,
                "precision": options.precision,
                "attention": options.attention,
                "checkpoint_every": options.steps,
            },
        }
    )


def tokenized(folder: Path, count: int, options: argparse.Namespace) -> list[list[int]]:
    """Sentences and passages as both sides read them, shuffled."""
    passages = load_dataset("gem-lab/books-passages", split="validation")["text"][: int(options.passages * count)]
    sentences = load_dataset("gem-lab/books-sentences", split="train")["text"][: count - len(passages)]
    texts = [*passages, *sentences]
    rows = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=options.max_length)["input_ids"]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def ours(recipe: Recipe, base: ResolvedModel, rows: Rows, batches: list[list[list[int]]], folder: Path) -> Clocked:
    """The seconds a token of the steps but the first and the last."""
    clocked = Clocked(real_tokens(batches))

    def report(step: StepReport) -> None:
        if step.step in (1, step.steps - 1):
            clocked.mark()

    train(recipe, base, rows, report=report, output=folder / "model")
    return clocked


def trainer(base: ResolvedModel, batches: list[list[list[int]]], options: argparse.Namespace, folder: str) -> Clocked:
    """The same of ``transformers.Trainer``."""
    clocked = Clocked(real_tokens(batches))

    class Marks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
            if state.global_step in (1, len(batches) - 1):
                clocked.mark()

    model: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=DTYPES["float32"])
    if options.method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear"))
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=len(batches),
        per_device_train_batch_size=options.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=1e-4,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        bf16=options.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": row} for batch in batches for row in batch],  # type: ignore[arg-type]
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[Marks()],
    ).train()
    return clocked


if __name__ == "__main__":
    main()
