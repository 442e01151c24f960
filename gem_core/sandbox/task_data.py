"""The data of the five embedding tasks, as plain rows, before any `mteb` class reads them.

All texts are in evaluation wordings and about held-out entities only. Wording, opening and closing of every text are
drawn without a look at its label, so nothing but content can tell the classes apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gem_core.sandbox.text import sentence
from gem_core.sandbox.vocabulary import TOPICS
from gem_core.sandbox.wordings import EVALUATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gem_core.sandbox.world import Entity, World

Row = dict[str, object]
STATED = ("kind", "place", "activity", "material")
"""The properties the tasks' texts state: those that come from an entity's topic."""


@dataclass(frozen=True)
class TaskSizes:
    """How many items each embedding task has."""

    sts_pairs: int = 300
    labelled_texts: int = 300
    """Test items of classification, texts of clustering, and pairs of pair classification."""
    queries: int = 120
    documents_per_entity: int = 4


def make_task_data(world: World, sizes: TaskSizes) -> Mapping[str, Mapping[str, list[Row]]]:
    """File name to split to rows, for all five tasks; the same world and sizes give the same rows."""
    rng = random.Random(f"tasks-{world.seed}")
    per_topic = -(-sizes.labelled_texts // len(TOPICS))
    return {
        "sts": {"test": _similarity_pairs(rng, world, sizes.sts_pairs)},
        "classification": {
            "train": _labelled(rng, world, 16),
            "test": _labelled(rng, world, per_topic),
        },
        "clustering": {"test": _labelled(rng, world, per_topic)},
        "pair_classification": {"test": _paraphrases(rng, world, sizes.labelled_texts)},
        **_retrieval(rng, world, sizes),
    }


def _text(rng: random.Random, entity: Entity, properties: Sequence[str]) -> str:
    return sentence(rng, entity, rng.sample(properties, k=len(properties)), EVALUATION)


def _similarity_pairs(rng: random.Random, world: World, count: int) -> list[Row]:
    """Pairs with a graded score 0 ... 5: one point for the same topic, two for the entity, two for what is stated."""
    entities = world.held_out_entities
    rows: list[Row] = []
    for index in range(count):
        first = rng.choice(entities)
        stated = rng.sample(STATED, k=2)
        relation = index % 4
        if relation == 0:
            second = rng.choice([entity for entity in entities if entity.topic != first.topic])
        elif relation == 1:
            second = rng.choice([entity for entity in entities if entity.topic == first.topic and entity != first])
        else:
            second = first
        keep = rng.choice((0, 1, 2)) if relation else rng.choice((0, 2))
        other = stated[:keep] + rng.sample([name for name in STATED if name not in stated], k=2 - keep)
        shared = sum(first.facts[name] == second.facts[name] for name in stated if name in other)
        score = float(first.topic == second.topic) + 2.0 * (first == second) + shared
        rows.append({"sentence1": _text(rng, first, stated), "sentence2": _text(rng, second, other), "score": score})
    return rows


def _labelled(rng: random.Random, world: World, per_topic: int) -> list[Row]:
    """Sentences with the topic they are about; the topic's own name is never said."""
    rows: list[Row] = []
    for topic in range(len(TOPICS)):
        entities = [entity for entity in world.of_topic(topic) if entity.held_out]
        for _ in range(per_topic):
            rows.append(
                {"text": _text(rng, rng.choice(entities), rng.sample(STATED, k=rng.choice((1, 2)))), "label": topic}
            )
    rng.shuffle(rows)
    return rows


def _paraphrases(rng: random.Random, world: World, count: int) -> list[Row]:
    """Pairs that say the same of the same entity (label 1), or something else of another one (label 0).

    Of the others, every second is a neighbour in the same topic.
    """
    entities = world.held_out_entities
    rows: list[Row] = []
    for index in range(count):
        first = second = rng.choice(entities)
        stated = rng.sample(STATED, k=2)
        same = index % 2 == 0
        if not same:
            near = index % 4 == 1
            second = rng.choice([one for one in entities if one != first and (one.topic == first.topic) == near])
        rows.append(
            {"sentence1": _text(rng, first, stated), "sentence2": _text(rng, second, stated), "label": int(same)}
        )
    return rows


def _retrieval(rng: random.Random, world: World, sizes: TaskSizes) -> dict[str, dict[str, list[Row]]]:
    """Documents of two sentences about an entity; a query states one thing of it in other words.

    A document that states the queried property is relevant with 2, another one about the same entity with 1.
    """
    corpus: list[Row] = []
    content: list[tuple[Entity, tuple[str, ...]]] = []
    for entity in world.held_out_entities:
        for _ in range(sizes.documents_per_entity):
            stated = tuple(rng.sample(STATED, k=3))
            text = f"{_text(rng, entity, stated[:2])} {_text(rng, entity, stated[2:])}"
            corpus.append({"id": f"d{len(corpus)}", "text": text})
            content.append((entity, stated))
    queries: list[Row] = []
    relevant: list[Row] = []
    for index in range(sizes.queries):
        entity, stated = content[rng.randrange(len(content))]
        asked = rng.choice(stated)
        queries.append({"id": f"q{index}", "text": _text(rng, entity, [asked])})
        for document, (about, says) in zip(corpus, content, strict=True):
            if about == entity:
                relevant.append(
                    {"query-id": f"q{index}", "corpus-id": document["id"], "score": 2 if asked in says else 1}
                )
    return {"corpus": {"test": corpus}, "queries": {"test": queries}, "relevant": {"test": relevant}}
