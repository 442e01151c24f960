"""Where things are, whatever way a user writes it."""

from pathlib import Path

import pytest

from gem_core.errors import GemError
from gem_core.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_relative_home_is_the_same_folder_for_jobs_that_start_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEM_HOME", "gem")
    settings = Settings()
    assert settings.home == tmp_path / "gem"
    assert settings.mlflow_uri == f"sqlite:///{tmp_path}/gem/mlflow.db"


def test_a_home_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GEM_HOME", "~/gem")
    assert Settings().home == tmp_path / "gem"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sqlite:///runs/mlflow.db", "sqlite:///{here}/runs/mlflow.db"),
        ("sqlite:////var/lib/mlflow.db", "sqlite:////var/lib/mlflow.db"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("postgresql://a:b@host/mlflow", "postgresql://a:b@host/mlflow"),
    ],
)
def test_a_store_is_the_same_for_jobs_that_start_elsewhere(monkeypatch, tmp_path, given, meant):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert Settings().mlflow_uri == meant.format(here=tmp_path)


def test_an_empty_variable_is_none(monkeypatch):
    for variable in ("MLFLOW_TRACKING_URI", "GEM_HOME", "GEM_RAY_ADDRESS", "GEM_DASHBOARD_PORT", "GEM_IMAGE"):
        monkeypatch.setenv(variable, "")
    assert Settings() == Settings(home=Path.home() / ".gem")
    assert Settings().image is None


@pytest.mark.parametrize(("variable", "value"), [("GEM_DASHBOARD_PORT", "web"), ("GEM_DASHBOARD_READ_ONLY", "often")])
def test_a_variable_that_does_not_fit_is_named_in_one_line(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(GemError, match=f"^{variable}='{value}': .*") as refused:
        Settings()
    assert "\n" not in str(refused.value)
