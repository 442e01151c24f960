from __future__ import annotations

import pytest

from gem_core.sandbox import ModelSize, SandboxSpec, TaskSizes, build


@pytest.fixture(scope="session")
def miniature():
    return SandboxSpec(
        entities_per_topic=4,
        held_out_per_topic=2,
        training_rows=200,
        questions_per_subject=8,
        tasks=TaskSizes(sts_pairs=40, labelled_texts=40, queries=10, documents_per_entity=2),
        model=ModelSize(
            vocabulary=1024, width=32, layers=1, heads=2, feed_forward=64, steps=4, rows_per_step=4, row_length=128
        ),
    )


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory, miniature):
    return build(tmp_path_factory.mktemp("home"), seed=3, spec=miniature)
