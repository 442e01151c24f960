"""Our training on raw next-token rows against ``transformers.Trainer`` fine-tuning the same model causally.

    HF_ENDPOINT=... python benchmarks/training_throughput.py --batch-size 32

Both sides run in one process, in turns, over the very same batches of books' sentences and passages, with the same
precision, optimizer (AdamW, fused), clipping and trained weights (``--method full`` or ``lora``). Counted are real
tokens, pads left out. A round's first step (warm-up) and last one (our checkpoint) are not timed. What saves the time:
rows go through the network in calls of similar length, without a mask, and logits are made of predicted tokens alone.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from paired import Clocked, ratios, table
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

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
    parser.add_argument("--method", default="full", choices=["full", "lora"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--passages", type=float, default=0.2, help="share of passages among the rows")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=6, help="a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = resolve(BaseModelSource(source=options.base), Settings())
    recipe = a_recipe(options)
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows.write(Path(folder) / "rows", tokenized(base.folder, options))
        planner = Planner(rows, recipe.objective, (), options.batch_size, recipe.seed, None, None)
        batches = [[sequence.tokens.tolist() for sequence in planner.batch(step).raw] for step in range(options.steps)]
        found = ratios(
            lambda: trainer(base, batches, options, folder),
            lambda: ours(recipe, base, rows, Path(folder)),
            options.rounds,
        )
    timed = batches[1:-1]
    real = sum(len(row) for batch in timed for row in batch)
    padded = sum(len(batch) * max(map(len, batch)) for batch in timed)
    print(f"{options.method}, {options.precision}, batches of {options.batch_size}, {real} real tokens a round")
    print(f"a batch padded to its longest row holds {padded / real:.2f} times its real tokens\n")
    table(found, ("transformers.Trainer", "GEM"), real, "tokens")


def a_recipe(options: argparse.Namespace) -> Recipe:
    """Raw next-token rows alone: no contrastive part, no divergence from the base."""
    return Recipe.model_validate(
        {
            "name": "throughput",
            "base_model": {"source": options.base},
            "data": {"sources": [{"source": "gem-lab/books-sentences"}], "max_length": options.max_length},
            "adaptation": {"method": options.method},
            "objective": {"raw_share": 1.0, "contrastive": {"rows": "none"}},
            "training": {
                "steps": options.steps,
                "batch_size": options.batch_size,
                "precision": options.precision,
                "checkpoint_every": options.steps,
            },
        }
    )


def tokenized(folder: Path, options: argparse.Namespace) -> list[list[int]]:
    """Sentences and passages as both sides read them, shuffled."""
    count = 2 * options.steps * options.batch_size
    passages = load_dataset("gem-lab/books-passages", split="validation")["text"][: int(options.passages * count)]
    sentences = load_dataset("gem-lab/books-sentences", split="train")["text"][: count - len(passages)]
    texts = [*passages, *sentences]
    rows = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=options.max_length)["input_ids"]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def ours(recipe: Recipe, base: ResolvedModel, rows: Rows, folder: Path) -> Clocked:
    """The seconds of the steps but the first and the last."""
    clocked = Clocked()

    def report(step: StepReport) -> None:
        if step.step in (1, step.steps - 1):
            clocked.mark()

    train(recipe, base, rows, report=report, output=folder / "model")
    return clocked


def trainer(base: ResolvedModel, batches: list[list[list[int]]], options: argparse.Namespace, folder: str) -> Clocked:
    """The same of ``transformers.Trainer``."""
    clocked = Clocked()

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
