"""Models under an S3 prefix, by boto3 (its variables: ``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` and so on).

A download is immutable: its folder is named by the digest of the listing (names, sizes, ETags), so that a changed
object means a new folder and a rerun downloads nothing. An interrupted download continues with the files it lacks.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from gem_core.errors import GemError
from gem_core.identity import CONTENT_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

KEPT_SUFFIXES = (*CONTENT_SUFFIXES, ".md")


def download(uri: str, into: Path, *, progress: Callable[[str, float], None] | None = None) -> Path:
    """Copy the model files directly under an S3 prefix.

    Args:
        uri: ``s3://bucket/prefix``.
        into: The folder that holds downloads.
        progress: Called with the file and the share of bytes done.

    Returns:
        The folder with the files.

    Raises:
        GemError: A malformed URI, nothing there, no access, or no storage reached.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?(.*?)/*", uri)
    if match is None:
        raise GemError(f"{uri!r} is no S3 address: write s3://bucket/prefix")
    bucket, prefix = match.groups()
    try:
        client = boto3.client("s3")
        objects = _listing(client, bucket, prefix)
        if not objects:
            raise GemError(f"nothing lies under {uri}: check bucket and prefix (the files must be directly under it)")
        listing = "\n".join(f"{name} {size} {etag}" for name, (_, size, etag) in sorted(objects.items()))
        readable = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{bucket}/{prefix}")
        name = f"{readable}-{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
        folder, partial = into / name, into / f"{name}.partial"
        into.mkdir(parents=True, exist_ok=True)
        with FileLock(into / f"{name}.lock"):
            if not folder.is_dir():
                _copy(client, bucket, objects, partial, progress)
                partial.rename(folder)
    except ClientError as error:
        raise GemError(f"S3 refuses {uri} ({error}): check the bucket's name and the AWS_* credentials") from error
    except BotoCoreError as error:
        raise GemError(
            f"S3 cannot be used for {uri} ({error}): check AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the credentials"
        ) from error
    return folder


def _listing(client: S3Client, bucket: str, prefix: str) -> dict[str, tuple[str, int, str]]:
    """Name -> (key, size, ETag) of the files of a model directly under the prefix."""
    head = f"{prefix}/" if prefix else ""
    found: dict[str, tuple[str, int, str]] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=head, Delimiter="/"):
        for item in page.get("Contents", ()):
            name = item["Key"].removeprefix(head)
            if PurePosixPath(name).suffix in KEPT_SUFFIXES:
                found[name] = (item["Key"], item["Size"], item["ETag"])
    return found


def _copy(
    client: S3Client,
    bucket: str,
    objects: dict[str, tuple[str, int, str]],
    partial: Path,
    progress: Callable[[str, float], None] | None,
) -> None:
    partial.mkdir(exist_ok=True)
    total, done = sum(size for _, size, _ in objects.values()) or 1, 0
    for name, (key, size, _) in objects.items():
        target = partial / name
        if progress is not None:
            progress(f"downloading {name}", done / total)
        if not target.exists():
            unfinished = partial / f"{name}.unfinished"
            client.download_file(bucket, key, str(unfinished))
            unfinished.rename(target)
        done += size
    if progress is not None:
        progress("downloaded", 1.0)
