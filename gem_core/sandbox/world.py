"""The world: which entities there are and what is true of them, drawn from a seed.

An entity has an invented name and seven properties. Four of them (kind, place, activity, material) come from its
topic, colour and size from the whole world. A share of the entities is *held out*: the base model reads about them
while it is pre-trained, but no row of the fine-tuning mentions them, and the embedding tasks speak of no others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gem_core.sandbox.vocabulary import (
    COLOURS,
    NAME_ENDS,
    NAME_STARTS,
    NAME_VOWELS,
    SIZES,
    TOPICS,
    Meaning,
)

PROPERTIES: tuple[str, ...] = ("kind", "place", "activity", "material", "field", "colour", "size")
"""What can be said of an entity; `field` names its topic."""


@dataclass(frozen=True)
class Entity:
    """One thing of the world.

    `facts` maps each of `PROPERTIES` to the meaning (all its words) that is true of the entity.
    """

    name: str
    topic: int
    held_out: bool
    facts: dict[str, Meaning]


@dataclass(frozen=True)
class World:
    """All entities, and the meanings each property can take in each topic."""

    seed: int
    entities: tuple[Entity, ...]

    @property
    def training_entities(self) -> tuple[Entity, ...]:
        """The entities that fine-tuning rows may mention."""
        return tuple(entity for entity in self.entities if not entity.held_out)

    @property
    def held_out_entities(self) -> tuple[Entity, ...]:
        """The entities of which the embedding tasks speak."""
        return tuple(entity for entity in self.entities if entity.held_out)

    def of_topic(self, topic: int) -> tuple[Entity, ...]:
        """All entities of one topic."""
        return tuple(entity for entity in self.entities if entity.topic == topic)


def values(topic: int, property_name: str) -> tuple[Meaning, ...]:
    """The meanings that `property_name` can take for an entity of `topic`.

    Raises:
        KeyError: `property_name` is not one of `PROPERTIES`.
    """
    of_topic = TOPICS[topic]
    return {
        "kind": of_topic.kinds,
        "place": of_topic.places,
        "activity": of_topic.activities,
        "material": of_topic.materials,
        "field": (of_topic.field,),
        "colour": COLOURS,
        "size": SIZES,
    }[property_name]


def make_world(seed: int, entities_per_topic: int, held_out_per_topic: int) -> World:
    """Draw the world of `seed`; the same arguments give the same world on every machine.

    Raises:
        ValueError: no entity would be left to train on, or none to test on.
    """
    if not 0 < held_out_per_topic < entities_per_topic:
        raise ValueError(f"held out {held_out_per_topic} of {entities_per_topic} entities a topic: both parts need one")
    rng = random.Random(f"world-{seed}")
    names = _names(rng, len(TOPICS) * entities_per_topic)
    entities = []
    for topic in range(len(TOPICS)):
        for index in range(entities_per_topic):
            facts = {name: rng.choice(values(topic, name)) for name in PROPERTIES}
            entities.append(Entity(names.pop(), topic, index < held_out_per_topic, facts))
    return World(seed, tuple(entities))


def _names(rng: random.Random, count: int) -> list[str]:
    """`count` different invented names of two syllables, such as `tavik`, none of them a word of the vocabulary."""
    taken = {
        word
        for topic in range(len(TOPICS))
        for name in PROPERTIES
        for meaning in values(topic, name)
        for word in meaning
    }
    names: list[str] = []
    while len(names) < count:
        name = "".join(
            rng.choice(part) for part in (NAME_STARTS, NAME_VOWELS, NAME_STARTS[:15], NAME_VOWELS, NAME_ENDS)
        )
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names
