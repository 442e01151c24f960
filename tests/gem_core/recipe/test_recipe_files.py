"""Overrides reach any value, and a wrong one says how to write it."""

import pytest
import yaml

from gem_core.errors import GemError
from gem_core.recipe.files import load

TEXT = """
name: tiny
base_model: {source: "sandbox:0"}
data: {sources: [{source: "sandbox:0"}, {source: more.jsonl}]}
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda r: r.seed == 7),
        ("training.learning_rate=3e-4", lambda r: r.training.learning_rate == 3e-4),
        ("data.sources.1.rows=100", lambda r: r.data.sources[1].rows == 100),
        ("objective.contrastive.rows=special", lambda r: r.objective.contrastive.rows == "special"),
        ("evaluation.embedding.tasks=[STS12, STS13]", lambda r: r.evaluation.embedding.tasks == ("STS12", "STS13")),
        ("data.sources.0.rows=null", lambda r: r.data.sources[0].rows is None),
    ],
)
def test_overrides(path, override, read):
    assert read(load(path, [override]))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "write it as key.path=value"),
        ("=3", "write it as key.path=value"),
        ("training..steps=3", "write it as key.path=value"),
        ("name.first=x", "name is a value, it has no key first"),
        ("data.sources.5.rows=1", "has entries 0 to 1, not 5"),
        ("training.stepps=3", "unknown key training.stepps (did you mean steps?)"),
        ("seed=[", "not valid YAML"),
    ],
)
def test_wrong_overrides_are_explained(path, override, expected):
    with pytest.raises(GemError, match=r"--set|recipe") as caught:
        load(path, [override])
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "has to be a mapping"),
        ("", "has to be a mapping"),
        ("name: x", "data is missing"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, content, expected):
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(GemError) as caught:
        load(path)
    assert expected in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(GemError, match="cannot read recipe"):
        load(tmp_path / "none.yaml")


def test_numbers_written_in_yamls_short_exponent_form_are_numbers(path):
    # YAML 1.1 reads 1e-4 as a string; pydantic takes it as the number that was meant.
    path.write_text(TEXT + yaml.safe_dump({"training": {"learning_rate": "1e-4"}}))
    assert load(path).training.learning_rate == 1e-4
