"""`pyroscope`: push a profile that an action has left to a Pyroscope server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from supervisor import addresses, files, pyroscope
from supervisor.actions import posting
from supervisor.actions.task import Task
from supervisor.profilers.failure import Failure

_MOST_BYTES = 64 << 20


def take(task: Task) -> dict[str, Any]:
    """Push it; returns what was `pushed`. Raises Failure, OSError."""
    spec, url = task.spec, task.secret()
    base = spec["profile"].removesuffix(".md")
    text = _read(base + ".folded").decode("utf-8", "replace")
    meta = json.loads(_read(base + ".meta.json"))
    name = os.environ.get("PYROSCOPE_APPLICATION_NAME") or spec["service"]
    labels = {"environment": spec["environment"], "state": spec["state"], "trigger": spec.get("trigger") or "",
              "host": os.uname().nodename}  # fmt: skip
    hint = f"curl -i {addresses.masked_url(url)}"
    try:
        times = _seconds(meta["started"]), _seconds(meta["ended"])
        push = pyroscope.push(spec["kind"], text, meta, *times, name, labels)
    except (ValueError, KeyError) as error:
        raise Failure("profile-garbage", f"{base}.folded: {error}", f"less {base}.folded") from None
    if not push.body:
        return {"pushed": 0, "bytes": 0}
    address = url.rstrip("/").removesuffix("/ingest") + push.target
    words = posting.Words("pyroscope", "profile", hint)
    posting.post(address, push.body, {"Content-Type": "text/plain; charset=utf-8", **_headers(os.environ, url)}, words)
    result = {"pushed": 1, "bytes": len(push.body)}
    return result if push.left_out < 5e-5 else result | {"left_out_share": round(push.left_out, 4)}


def _read(path: str) -> bytes:
    with open(files.open_regular(path), "rb") as file:
        return file.read(_MOST_BYTES)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _headers(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """Who pushes, by the variables that Pyroscope's own clients have; userinfo in the URL comes first."""
    found = {}
    if tenant := environ.get("PYROSCOPE_TENANT_ID"):
        found["X-Scope-OrgID"] = tenant
    if addresses.authorization(url):
        return found
    if token := environ.get("PYROSCOPE_AUTH_TOKEN"):
        found["Authorization"] = f"Bearer {token}"
    elif user := environ.get("PYROSCOPE_BASIC_AUTH_USER"):
        found |= addresses.basic(user, environ.get("PYROSCOPE_BASIC_AUTH_PASSWORD", ""))
    return found
