"""The exam: multiple-choice questions over the world, scored as lm-eval's `mmlu_continuation` scores MMLU's.

A question asks for a property of an entity (or for the entity of a kind), with three wrong choices from other topics.
The model is shown the question and is right if it finds the right choice's text the likeliest. MMLU's other format,
lettered choices of which the letter is scored, stayed at chance in every trial of a pre-training this short.

Every (subject, entity, way of asking) belongs to one side: `training` questions fill the exam documents a base model
reads while it is pre-trained, `test` questions are asked by the benchmark and by nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gem_core.sandbox.vocabulary import TOPICS
from gem_core.sandbox.wordings import QUESTIONS
from gem_core.sandbox.world import Entity, World, values

if TYPE_CHECKING:
    from collections.abc import Sequence

SUBJECTS: tuple[str, ...] = tuple(QUESTIONS)
_PROPERTY = {"kinds": "kind", "places": "place", "activities": "activity", "materials": "material", "fields": "field"}


@dataclass(frozen=True)
class Question:
    """One question: four `choices`, of which `choices[answer]` is right."""

    question: str
    choices: tuple[str, ...]
    answer: int

    def solved(self) -> str:
        """The question with its answer, as it stands in a few-shot context."""
        return f"Question: {self.question}\nAnswer: {self.choices[self.answer]}"


def description(subject: str) -> str:
    """The line that opens an exam of `subject`, in the words of MMLU, without its mention of choices."""
    return f"The following are questions (with answers) about {subject}.\n\n"


def ways(subject: str, entity: Entity, side: Literal["training", "test"]) -> tuple[str, ...]:
    """The ways of asking about `entity` in `subject` that belong to `side`: two of six are kept for the test."""
    order = list(QUESTIONS[subject])
    random.Random(f"ways-{subject}-{entity.name}").shuffle(order)
    return tuple(order[:2] if side == "test" else order[2:])


def ask(rng: random.Random, world: World, subject: str, entity: Entity, side: Literal["training", "test"]) -> Question:
    """A question of `subject` to which `entity` or one of its properties is the answer."""
    others = rng.sample([topic for topic in range(len(TOPICS)) if topic != entity.topic], k=3)
    way = rng.choice(ways(subject, entity, side))
    if subject == "members":
        text = way.format(x=rng.choice(entity.facts["kind"]))
        right = entity.name
        wrong = [rng.choice(world.of_topic(topic)).name for topic in others]
    else:
        text = way.format(n=entity.name)
        name = _PROPERTY[subject]
        right = rng.choice(entity.facts[name])
        wrong = [rng.choice(rng.choice(values(topic, name))) for topic in others]
    answer = rng.randrange(4)
    return Question(text, (*wrong[:answer], right, *wrong[answer:]), answer)


def exam_document(rng: random.Random, world: World, entities: Sequence[Entity], questions: int) -> str:
    """A solved exam over `entities` in one subject, as long as a `questions - 1`-shot context."""
    subject = rng.choice(SUBJECTS)
    asked = (ask(rng, world, subject, rng.choice(entities), "training").solved() for _ in range(questions))
    return description(subject) + "\n\n".join(asked)
