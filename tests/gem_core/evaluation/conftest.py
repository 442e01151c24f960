"""A miniature sandbox and models over it: enough to measure for real, not enough to measure well."""

from pathlib import Path

import pytest

from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, Evaluation, SpecialTokens
from gem_core.sandbox import EMBEDDING_TASKS, LANGUAGE_GROUP, ModelSize, Sandbox, SandboxSpec, TaskSizes, build
from gem_core.settings import Settings
from gem_core.sources.models import ResolvedModel

SEED = 7
MINIATURE = SandboxSpec(
    entities_per_topic=8,
    held_out_per_topic=4,
    training_rows=40,
    questions_per_subject=6,
    tasks=TaskSizes(sts_pairs=24, labelled_texts=32, queries=8, documents_per_entity=2),
    model=ModelSize(vocabulary=512, width=32, layers=2, heads=2, feed_forward=48, steps=2, rows_per_step=2),
)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home whose sandbox is the miniature: it stands where the full one would be looked for."""
    folder = tmp_path_factory.mktemp("home")
    built = build(folder, SEED, spec=MINIATURE)
    built.folder.with_name(f"{SEED}-{SandboxSpec().digest()}").symlink_to(built.folder)
    return folder


@pytest.fixture(scope="session")
def sandbox(home) -> Sandbox:
    return build(home, SEED)


@pytest.fixture(scope="session")
def gem_folder(home, sandbox, tmp_path_factory):
    """A GEM model over the miniature's base: an adapter that changes nothing yet, and one special token."""
    from gem_core.identity import content_digest

    digest = content_digest(sandbox.base_model)
    base = ResolvedModel(str(sandbox.base_model), digest, sandbox.base_model, digest, None)
    model = GemModel.from_base(base, special_tokens=SpecialTokens(), adaptation=Adaptation(), seed=1)
    folder = tmp_path_factory.mktemp("models") / "model"
    model.save(folder)
    return folder


class ApartSettings(Settings):
    """The miniature's home, with the scores elsewhere: tests may share models and not what is known of them."""

    apart: Path

    @property
    def scores(self) -> Path:
        return self.apart


@pytest.fixture
def settings(home, tmp_path) -> Settings:
    """A score store of the test's own."""
    return ApartSettings(home=home, apart=tmp_path / "scores")


@pytest.fixture(scope="session")
def shared(home, tmp_path_factory) -> Settings:
    """A score store that tests share which only look at results."""
    return ApartSettings(home=home, apart=tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    """Every task of the sandbox."""
    return Evaluation.model_validate(
        {"sandbox": SEED, "embedding": {"tasks": EMBEDDING_TASKS}, "language": {"tasks": [LANGUAGE_GROUP]}}
    )


@pytest.fixture(scope="session")
def few_tasks() -> Evaluation:
    """One task of each kind."""
    return Evaluation.model_validate(
        {"sandbox": SEED, "embedding": {"tasks": ["SandboxSTS"]}, "language": {"tasks": [LANGUAGE_GROUP]}}
    )
