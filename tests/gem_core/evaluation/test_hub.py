"""The libraries' own tasks, found by name on the hub, over a real model."""

import pytest

from gem_core.evaluation.run import cached, evaluate
from gem_core.evaluation.store import ScoreStore
from gem_core.judging.gates import judge
from gem_core.recipe import BaseModelSource, Evaluation, Gate
from gem_core.settings import Settings
from gem_core.sources.models import resolve

pytestmark = pytest.mark.hub

EVALUATION = Evaluation.model_validate(
    {
        "embedding": {"tasks": ["STSBenchmark"]},
        "language": {"tasks": ["blimp_adjunct_island", "blimp_anaphor_number_agreement"], "limit": 40},
    }
)


def test_public_tasks_are_measured_by_name(tmp_path):
    settings = Settings(home=tmp_path)
    base = resolve(BaseModelSource(source="gem-lab/english-12m"), settings)
    scores = evaluate(base.folder, base.reference, EVALUATION, settings)
    assert scores.missing == {}
    assert scores.best_read_out() == "mean"
    assert 28.0 < scores.value("embedding") < 31.0
    assert scores.value("language.blimp_adjunct_island") >= 50.0
    (sts,) = scores.measured("embedding")
    assert (sts.items, sts.limited) == (1379, False)
    (blimp,) = scores.measured("language.blimp_adjunct_island")
    assert (blimp.items, blimp.limited) == (40, True)
    assert cached(base.digest, EVALUATION, settings, reference=base.reference) == scores
    gates = [Gate(name="kept", metric="language.blimp_adjunct_island", against="base", at_least=0.0)]
    assert judge(scores, scores, None, gates, records=ScoreStore(settings.scores).items).verdict == "pass"
