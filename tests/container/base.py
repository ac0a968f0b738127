"""The base image of the container tests, from Debian packages, so that the Dockerfile builds without a registry.

mmdebstrap makes a root file system with Python; it is kept below the user's cache directory, since that takes a minute.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import subprocess
from pathlib import Path

from tests.debian import mirror

IMAGE = "docker.io/library/python:3.11-slim"
SUITE = "bookworm"  # its python3 is the Dockerfile's 3.11
PACKAGES = "ca-certificates,python3,python3-venv,busybox-static"
UNNEEDED = ("doc", "man", "info", "locale", "i18n", "zoneinfo")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CHANGES = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"ENV PIP_CERT={CERTIFICATES}",
    'CMD ["python3"]',
)
TIMEOUT_S = 400


def archive(cache: Path) -> Path:
    """The root file system as a tar, made unless the cache has it."""
    trusted = certificates()
    recipe = repr((SUITE, PACKAGES, UNNEEDED)).encode() + (trusted.read_bytes() if trusted else b"")
    path = cache / f"base-{hashlib.sha256(recipe).hexdigest()[:16]}.tar"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("base-*.tar*"):
            old.unlink()
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        subprocess.run(command(unfinished, trusted), check=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
        unfinished.replace(path)
    return path


def command(output: Path, trusted: Path | None) -> list[str]:
    """mmdebstrap's command line. `trusted`: the certificates that pip is to trust in the image, too."""
    line = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={PACKAGES}", "--format=tar"]
    line += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNNEEDED]
    if trusted is not None:
        line.append(f"--customize-hook=upload {trusted} {CERTIFICATES}")
    return [*line, SUITE, str(output), *mirror()]


def certificates() -> Path | None:
    """What this machine trusts: behind a proxy that is more than what Debian does."""
    found = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    return Path(found) if found and Path(found).is_file() else None
