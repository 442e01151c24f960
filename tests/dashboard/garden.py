"""A real SQLite MLflow store with really registered tiny models: two champions, a refused and an undecided version."""

from dataclasses import dataclass
from pathlib import Path

import torch

from gem_core.evaluation.scores import Scores, TaskScore
from gem_core.identity import content_digest
from gem_core.judging.gates import judge
from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, Gate, SpecialTokens
from gem_core.records.lineage import Lineage
from gem_core.records.promotion import Championship
from gem_core.records.promotion_log import Grounds
from gem_core.records.registration import register
from gem_core.records.registry import Registry
from gem_core.records.tracking import Tracking
from gem_core.settings import Settings
from gem_core.sources.models import ResolvedModel

NAME = "garden"
BASE_POINTS = {
    "embedding": {"GardenSTS": 48.2, "GardenTopics": 55.0, "GardenClusters": 31.5, "GardenSearch": 22.4},
    "language": {"garden_exam_facts": 61.0, "garden_exam_words": 52.5, "garden_exam_order": 47.0},
}
GATES = (
    Gate(name="embedding-gain", metric="embedding", against="base", at_least=15),
    Gate(name="language-kept", metric="language", against="base", at_least=-1),
    Gate(name="not-worse-than-champion", metric="embedding", against="champion", at_least=-0.5),
)
SENTENCES = [f"The {a} {b} sleeps {c}." for a in ("old", "quick") for b in ("fox", "owl") for c in ("here", "there")]


@dataclass(frozen=True)
class Store:
    """Where the tests' records are."""

    home: Path
    uri: str
    base: ResolvedModel


def use(monkeypatch, home: Path, uri: str | None = None) -> None:
    import streamlit as st

    monkeypatch.setenv("GEM_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    st.cache_data.clear()
    st.cache_resource.clear()


def fill(home: Path) -> Store:
    settings = Settings(home=home, tracking_uri=None)
    tracking, registry = Tracking(settings.mlflow_uri), Registry(settings)
    base = make_base(home / "base")
    baseline = scored(base.digest, 0.0, 0.0)
    champion = None
    for seed, (embedding, language, action) in enumerate(
        [(24.0, -0.4, "promote"), (29.5, -0.2, "promote"), (33.0, -6.5, "refuse"), (30.1, 0.6, "challenge")]
    ):
        run_id = tracking.start_run(NAME, f"{NAME}-seed-{seed}", {"gem.run_key": f"{NAME}-{seed}"})
        folder = home / "runs" / str(seed) / "model"
        options = {"special_tokens": SpecialTokens(count=1, noise=1.0), "adaptation": Adaptation(rank=2), "seed": seed}
        GemModel.from_base(base, **options).save(folder)
        missing = "GardenSearch" if action == "challenge" else None
        candidate = scored(content_digest(folder), embedding, language, missing=missing)
        version = register(
            registry,
            NAME,
            folder,
            run_id,
            lineage(base, seed),
            who="tests",
            scores=candidate.points(),
            baseline=baseline.points(),
        )
        report = judge(candidate, baseline, champion, GATES)
        content = report.model_dump(mode="json")
        registry.record_report(NAME, version.version, content)
        championship, grounds = Championship(registry, NAME), Grounds("tests", report.sentence(), content)
        reigning = registry.champion(NAME)
        expected = reigning and reigning.version
        if action == "promote":
            championship.promote(version.version, grounds, expected=expected)
            champion = candidate
        elif action == "challenge":
            championship.challenge(version.version, grounds, expected=expected)
        else:
            championship.refuse(version.version, grounds)
        tracking.finish(run_id)
    tracking.finish(tracking.start_run(NAME, f"{NAME}-out-of-memory", {}), "FAILED")
    tracking.start_run(NAME, f"{NAME}-under-way", {})
    return Store(home, settings.mlflow_uri, base)


def scored(digest: str, embedding: float, language: float, missing: str | None = None) -> Scores:
    """The base's points plus a gain by kind, a little different for each task."""
    gains = {"embedding": embedding, "language": language}
    tasks = tuple(
        TaskScore(
            task=task,
            kind=kind,
            read_out="special" if kind == "embedding" else "",
            metric="points",
            value=points + gains[kind] * (0.8 + 0.1 * place),
            items=100,
            settings="s",
        )
        for kind, by_task in BASE_POINTS.items()
        for place, (task, points) in enumerate(by_task.items())
        if task != missing
    )
    reasons = {f"embedding.{missing}": "its data could not be read"} if missing else {}
    return Scores(model=digest, reference="tests", tasks=tasks, missing=reasons)


def lineage(base: ResolvedModel, seed: int) -> Lineage:
    return Lineage(
        base_model=base.reference,
        base_revision=base.revision,
        base_digest=base.digest,
        base_license="apache-2.0",
        data_digest="d" * 64,
        recipe={"name": NAME, "seed": seed},
        recipe_digest="e" * 64,
        steps=300,
        training_seconds=75.0,
    )


def make_base(folder: Path) -> ResolvedModel:
    """A small Llama of random weights with a byte-level tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=256
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digest = content_digest(folder)
    return ResolvedModel(reference=str(folder), revision=digest, folder=folder, digest=digest, license=None)
