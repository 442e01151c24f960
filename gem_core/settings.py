"""Every environment variable the platform reads, in one place.

Settings say *where* things are on this machine or cluster; a recipe says *what* is run. Nothing here changes a result.
The libraries' own variables keep their names and are read by the libraries themselves: ``HF_ENDPOINT``, ``HF_HOME`` and
``HF_TOKEN`` (model hub), ``AWS_*`` (S3), ``PREFECT_API_URL`` (an existing Prefect server).
"""

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gem_core.errors import GemError

SQLITE = "sqlite:///"


class Settings(BaseSettings):
    """Read from ``GEM_*`` variables when constructed; constructing it creates no folder and calls no server.

    Places on this machine become absolute: jobs start in other folders, and mean the same ones.

    Raises:
        GemError: A variable that does not fit.
    """

    model_config = SettingsConfigDict(env_prefix="GEM_", env_ignore_empty=True, frozen=True, extra="ignore")

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - the fields below
        try:
            super().__init__(**given)
        except ValidationError as error:
            faults = [(str(fault["loc"][0]), fault) for fault in error.errors()]
            raise GemError(
                "; ".join(
                    f"{name if name.isupper() else f'GEM_{name.upper()}'}={fault['input']!r}: {fault['msg']}"
                    for name, fault in faults
                )
            ) from error

    home: Path = Path.home() / ".gem"
    """``GEM_HOME``: runs, caches and the default MLflow store. A shared folder when jobs run on a cluster."""

    tracking_uri: str | None = Field(default=None, validation_alias=AliasChoices("MLFLOW_TRACKING_URI", "tracking_uri"))
    """``MLFLOW_TRACKING_URI``: the MLflow server. Default: the SQLite store ``<home>/mlflow.db``."""

    ray_address: str | None = None
    """``GEM_RAY_ADDRESS``: the job server of a Ray cluster (``http://head:8265``). Default: a local cluster."""

    dashboard_port: int = Field(default=8501, ge=1, le=65535)
    """``GEM_DASHBOARD_PORT``: where ``gem dashboard`` listens, on loopback."""

    dashboard_read_only: bool = False
    """``GEM_DASHBOARD_READ_ONLY``: the dashboard offers no approval and no rollback, and refuses them. It asks nobody
    to log in, so set this where others than operators reach it, or where it does not share the promoters' home."""

    image: str | None = None
    """``GEM_IMAGE``: the container image this program runs in, kept with every version it registers."""

    debug: bool = False
    """``GEM_DEBUG``: show tracebacks instead of one-line errors (the same as ``gem --debug``)."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("tracking_uri")
    @classmethod
    def _absolute_store(cls, uri: str | None) -> str | None:
        if uri is None or not uri.startswith(SQLITE):
            return uri
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute()}"

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI in force."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def runs(self) -> Path:
        """One folder a training: prepared data, checkpoints, the trained model."""
        return self.home / "runs"

    @property
    def scores(self) -> Path:
        """Evaluation results, by weights digest and settings digest."""
        return self.home / "scores"
