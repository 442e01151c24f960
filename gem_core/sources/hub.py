"""Models and data revisions on a Hugging Face hub, by huggingface_hub (its variables: ``HF_ENDPOINT``, ``HF_HOME`` …).

Files are downloaded once into the hub cache that every other program shares. What the platform works with is a folder
of links to exactly the files of the model, since others may have put more into the shared snapshot (the Llama models'
``original/params.json``, Mistral's second copy of the weights), and the content digest must not depend on that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gem_core.base_checks import license_of
from gem_core.errors import GemError
from gem_core.identity import CONTENT_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

Progress = Callable[[str, float], None]

log = logging.getLogger(__name__)

WEIGHTS = "*.safetensors"
ABOUT = [*(f"*{suffix}" for suffix in CONTENT_SUFFIXES if suffix != ".safetensors"), "README.md", "LICENSE*"]
NOT_THE_MODEL = ["*/*", "consolidated*"]
"""Subfolders hold other formats; ``consolidated`` is the same weights in another layout."""


@dataclass(frozen=True)
class Fetched:
    """A model of the hub on this machine."""

    folder: Path
    commit: str


def fetch(
    name: str,
    revision: str | None,
    into: Path,
    *,
    check: Callable[[Path, str], None] | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Download a model, or find it in the cache when the hub cannot be reached.

    Args:
        name: ``owner/name``.
        revision: Commit, tag or branch; the default branch when unset.
        into: The folder that holds the folders of links.
        check: Called with folder and name when all but the weights is there, to refuse before those are downloaded.
        progress: Called with what is happening and the share done.

    Raises:
        GemError: Unknown model or revision, gated, no hub, a full disk; or whatever ``check`` raises.
    """
    from huggingface_hub import snapshot_download

    bar = _silent_bar(name, progress)
    with _explained(name, revision):
        snapshot = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=ABOUT, ignore_patterns=NOT_THE_MODEL, tqdm_class=bar
            )
        )
    commit = snapshot.name
    folder = into / name.replace("/", "--") / commit
    _link(snapshot, folder)
    if check is not None:
        check(folder, name)
    with _explained(name, commit):
        snapshot_download(name, revision=commit, allow_patterns=WEIGHTS, ignore_patterns=NOT_THE_MODEL, tqdm_class=bar)
    _link(snapshot, folder)
    return Fetched(folder, commit)


def data_commit(name: str, revision: str | None) -> str:
    """The full commit that a data set's branch or tag names now.

    Raises:
        GemError: Unknown data set or revision, or no hub.
    """
    from huggingface_hub import HfApi

    with _explained(name, revision, kind="data set"):
        return str(HfApi().dataset_info(name, revision=revision).sha)


def data_license(name: str, commit: str) -> str | None:
    """What a data set's card says of its licence; from the cache where the hub is out of reach.

    A licence decides nothing in a run, so a card that cannot be had is a warning, not an end.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        with _explained(name, commit, kind="data set"):
            card = hf_hub_download(name, "README.md", repo_type="dataset", revision=commit)
    except (GemError, EntryNotFoundError) as error:
        log.warning("the licence of %s is not known: %s", name, str(error).split("\n")[0])
        return None
    return license_of(Path(card).parent)


def _link(snapshot: Path, folder: Path) -> None:
    """Make ``folder`` links to the model's own files in the snapshot."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in snapshot.iterdir():
        wanted = path.suffix in CONTENT_SUFFIXES or path.name == "README.md" or path.name.startswith("LICENSE")
        link = folder / path.name
        if not wanted or path.is_dir() or path.name.startswith("consolidated"):
            continue
        if link.is_symlink() and not link.exists():  # the cache was emptied and filled again
            link.unlink()
        if not link.exists():
            link.symlink_to(path.resolve())


@contextmanager
def _explained(name: str, revision: str | None, *, kind: str = "model") -> Iterator[None]:
    """Turn what huggingface_hub raises into one line that says what to do."""
    import httpx2
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    try:
        yield
    except errors.HFValidationError as error:
        raise GemError(
            f"{kind} {name!r} was not found: there is no such folder, and it is no hub id "
            "(owner/name) either; check the spelling"
        ) from error
    except errors.GatedRepoError as error:
        raise GemError(
            f"{kind} {name} is gated: accept its licence at {endpoint}/{name}, "
            "then set HF_TOKEN to a token that may read it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise GemError(
            f"{kind} {name} was not found: there is no such folder here, and the hub {endpoint} has none of that name "
            "(or it is private: set HF_TOKEN); check the spelling"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise GemError(
            f"{kind} {name} has no revision {revision!r} on {endpoint}: give a commit, tag or branch that exists"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise GemError(
            f"the hub {endpoint} cannot be reached and {kind} {name} is not in the cache: "
            "check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from error
    except errors.HfHubHTTPError as error:
        raise GemError(
            f"the hub {endpoint} refuses {kind} {name} ({_one_line(error)}): try again, or check HF_TOKEN"
        ) from error
    except OSError as error:
        raise GemError(
            f"{kind} {name} cannot be stored ({_one_line(error)}): free some space, or set HF_HOME to another disk"
        ) from error


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _silent_bar(name: str, progress: Progress | None) -> type:
    """A progress-bar class for huggingface_hub that draws nothing and reports the share of bytes."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class SilentBar(tqdm):
        @staticmethod
        def status_printer(file: object) -> Callable[[str], None]:
            return lambda text: None

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if progress is not None and self.unit == "B" and self.total:
                progress(f"downloading {name}", min(self.n / self.total, 1.0))

        def close(self) -> None:
            self.disable = True

    return SilentBar
