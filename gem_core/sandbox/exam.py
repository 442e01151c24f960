"""The exam: multiple-choice questions over the world, scored as lm-eval's `mmlu_continuation` scores MMLU's.

A question names a word of one topic and asks for another word of it, with three wrong choices from other topics: what
belongs together is what this world's text teaches. The model is shown the question and is right if it finds the right
choice's text the likeliest. MMLU's other format, lettered choices of which the letter is scored, stayed at chance in
every trial of a pre-training this short (docs/decisions.md).

Every (subject, way of asking, word asked about) belongs to one side: `training` questions fill the exam documents a
base model reads while it is pre-trained, `test` questions are asked by the benchmark and by nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from gem_core.sandbox.vocabulary import TOPICS
from gem_core.sandbox.wordings import QUESTIONS
from gem_core.sandbox.world import values

TEST_SHARE = 0.25
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


def side_of(subject: str, way: str, cue: str) -> Literal["training", "test"]:
    """The side of the split on which `subject` is asked `way` about the word `cue`: a quarter is kept for the test."""
    return "test" if random.Random(f"{subject}-{way}-{cue}").random() < TEST_SHARE else "training"


def ask(rng: random.Random, subject: str, side: Literal["training", "test"]) -> Question:
    """A question of `subject` that belongs to `side`."""
    topic, *others = rng.sample(range(len(TOPICS)), k=4)
    while True:
        way = rng.choice(QUESTIONS[subject])
        (cue_name,) = (name for _, name, _, _ in Formatter().parse(way) if name)
        cue = rng.choice(rng.choice(values(topic, cue_name)))
        if side_of(subject, way, cue) == side:
            break
    asked = _PROPERTY[subject]
    right, *wrong = (rng.choice(rng.choice(values(one, asked))) for one in (topic, *others))
    answer = rng.randrange(4)
    return Question(way.format(**{cue_name: cue}), (*wrong[:answer], right, *wrong[answer:]), answer)


def exam_document(rng: random.Random, questions: int) -> str:
    """A solved exam in one subject, as long as a `questions - 1`-shot context."""
    subject = rng.choice(SUBJECTS)
    return description(subject) + "\n\n".join(ask(rng, subject, "training").solved() for _ in range(questions))
