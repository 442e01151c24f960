"""Writing the world out as English: sentences, passages and scenes.

A text is made of `Wordings` and facts. Everything random comes from the caller's generator, so a text is a function
of (world, generator state); which side of the train/evaluation split a text is on is decided by the `Wordings` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gem_core.sandbox.vocabulary import TOPICS
from gem_core.sandbox.wordings import TRAINING, Wordings
from gem_core.sandbox.world import PROPERTIES, Entity, World, values

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


def sentence(rng: random.Random, entity: Entity, properties: Sequence[str], wordings: Wordings) -> str:
    """One sentence that states `properties` of `entity`, between an opening and a closing that say nothing.

    Which of a meaning's words and which wording it takes is drawn anew each time.
    """
    clauses = [rng.choice(wordings.clauses[name]).format(x=rng.choice(entity.facts[name])) for name in properties]
    text = f"{rng.choice(wordings.openings)}the {entity.name} {' and '.join(clauses)}{rng.choice(wordings.closings)}."
    return text[0].upper() + text[1:]


def passage(rng: random.Random, entity: Entity, wordings: Wordings, sentences: int) -> str:
    """`sentences` sentences about one entity, each with one or two of its properties, none twice."""
    properties = rng.sample(PROPERTIES, k=len(PROPERTIES))
    parts = []
    for _ in range(sentences):
        count = rng.choice((1, 2))
        parts.append(sentence(rng, entity, properties[:count], wordings))
        properties = properties[count:] + properties[:count]
    return " ".join(parts)


def scene(rng: random.Random, topic: int) -> str:
    """One sentence about a topic in which no entity is named."""
    words = {
        name: rng.choice(rng.choice(values(topic, name))) for name in ("kind", "place", "activity", "material", "field")
    }
    text = rng.choice(TRAINING.scenes).format(**words)
    return text[0].upper() + text[1:]


def training_text(rng: random.Random, world: World, entities: Sequence[Entity]) -> str:
    """One row of prose in training wordings about `entities` or a topic: a sentence, a passage or a few scenes."""
    form = rng.random()
    if form < 0.5:
        return sentence(rng, rng.choice(entities), rng.sample(PROPERTIES, k=rng.choice((1, 2, 2, 3))), TRAINING)
    if form < 0.85:
        return passage(rng, rng.choice(entities), TRAINING, rng.choice((2, 3)))
    topic = rng.randrange(len(TOPICS))
    return " ".join(scene(rng, topic) for _ in range(rng.choice((1, 2))))
