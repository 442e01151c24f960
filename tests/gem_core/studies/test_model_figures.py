import pytest

from gem_core.method.model import GemModel
from gem_core.recipe import Adaptation, SpecialTokens
from gem_core.recipe.gates import FIGURE_NAMES
from gem_core.studies import latency as latency_module
from gem_core.studies.diagnostics import TEXTS, stability
from gem_core.studies.figures import KINDS, measure
from gem_core.studies.latency import Latency, latency, machine


@pytest.fixture(autouse=True)
def _fewer_calls(monkeypatch):
    monkeypatch.setattr(latency_module, "REPEATS", 3)
    monkeypatch.setattr(latency_module, "WARM_UP", 1)


def gem(base):
    return GemModel.from_base(base, special_tokens=SpecialTokens(count=2), adaptation=Adaptation(), seed=1)


def test_every_figure_a_gate_may_name_is_measured(bases):
    asked = [name for name in FIGURE_NAMES if name.partition(".")[0] in KINDS]
    model = gem(bases())
    found = measure(model, asked)
    assert sorted(found) == sorted(asked)
    texts = [text for part in TEXTS.values() for text in part]
    assert found["stability.twice"] == pytest.approx(1 - stability(model, texts).twice)
    assert found["stability.neighbours"] == pytest.approx(0, abs=1e-4)
    assert found["stability.half"] > 1e-4


def test_only_what_is_asked_for_is_measured(bases, monkeypatch):
    monkeypatch.setattr(latency_module, "latency", pytest.fail)
    assert list(measure(gem(bases()), ["stability.half", "memory.weights_mb"])) == ["stability.half"]
    assert measure(gem(bases()), []) == {}


def test_a_slower_model_takes_longer(bases, settings, monkeypatch):
    model = GemModel.load(bases().folder, settings=settings)
    quick = latency(model)
    assert min(vars(quick).values()) > 0
    forward = model.network.forward

    def slowly(*args, **kwargs):
        latency_module.time.sleep(0.005)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.network, "forward", slowly)
    slow = latency(model)
    assert slow.first_token_ms >= 5
    assert slow.token_ms >= 5
    assert isinstance(slow, Latency)
    assert "CPU" in machine(model)
