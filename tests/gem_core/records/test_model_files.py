"""Copies of a registered model's files, where its store is on another machine."""

import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gem_core.errors import GemError
from gem_core.identity import content_digest
from gem_core.records import mlflow_connection
from gem_core.records.model_files import fetch
from gem_core.records.versions import Version
from gem_core.settings import Settings


@pytest.fixture
def version(tmp_path):
    """A version whose files lie in a bucket; in truth in a folder, from which ``download`` takes them."""
    stored = tmp_path / "bucket" / "model"
    stored.mkdir(parents=True)
    (stored / "config.json").write_text('{"number": 1}')
    return Version(
        name="m", version="1", digest=content_digest(stored), aliases=(), run_id="r", created=datetime.now(UTC),
        source="s3://bucket/model", lineage=None,
    )  # fmt: skip


def serve(monkeypatch, stored, before=lambda: None):
    def download(_uri, _source, into):
        before()
        return Path(shutil.copytree(stored, into / "model"))

    monkeypatch.setattr(mlflow_connection, "download", download)


def test_two_processes_may_fetch_a_model_at_once(version, tmp_path, monkeypatch):
    both = threading.Barrier(2, timeout=20)
    serve(monkeypatch, tmp_path / "bucket" / "model", before=both.wait)
    settings, found, failed = Settings(home=tmp_path / "home", tracking_uri=None), [], []

    def one():
        try:
            found.append(fetch(version, settings, "http://mlflow"))
        except (OSError, GemError) as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert found[0] == found[1]
    assert content_digest(found[0]) == version.digest
    assert [path.name for path in found[0].parent.iterdir()] == [version.digest], "no scraps are left"


def test_a_disk_that_is_full_is_one_line(version, tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    serve(monkeypatch, tmp_path / "bucket" / "model", before=full)
    with pytest.raises(GemError, match="No space left on device"):
        fetch(version, Settings(home=tmp_path / "home", tracking_uri=None), "http://mlflow")
    assert list((tmp_path / "home" / "models" / "registry").iterdir()) == []
