"""Rows: places that evidence is shipped to, and that aren't there, are slow, refuse or lead elsewhere."""

from __future__ import annotations

import os

from tests.integration.faults.scene import Namespace, Scene
from tests.integration.faults.table import AtLeast, Words, row
from tests.integration.receiver import Receiver

SECRET = "?sig=s3cret"


def shipped_to(scene: Scene, url: str, *options: str) -> None:
    """A run with little patience at its end; what the URL holds is nowhere."""
    scene.begin(["--ship-timeout", "1500ms", *options], env={"GUARD_SHIP": url})
    scene.undo.callback(no_secret, scene)


def no_secret(scene: Scene) -> None:
    assert "s3cret" not in str(scene.events())
    for path in scene.paths("**/*.json*"):
        assert b"s3cret" not in path.read_bytes(), path


def behaving(scene: Scene, answer: int | str, location: str = "") -> Receiver:
    """A server that answers like this."""
    receiver = scene.undo.enter_context(Receiver(answer, location=location))
    shipped_to(scene, f"{receiver.url.replace('://', '://me:s3cret@')}/in/{SECRET}")
    return receiver


@row("ship", "the server answers 500", "each time", "ship.failed",
     {"reason": "server-error", "said": Words("500 Internal Server Error"), "hint": Words("curl")})  # fmt: skip
def answers_500(scene: Scene) -> None:
    behaving(scene, 500)


@row("ship", "the server never answers", "guard waits --ship-timeout at its end", "ship.failed",
     {"reason": "timeout", "elapsed_s": AtLeast(0.9, 30)})  # fmt: skip
def never_answers(scene: Scene) -> None:
    behaving(scene, "hang")


@row("ship", "the server hangs up", "instead of an answer", "ship.failed", {"reason": "unreachable"})
def hangs_up(scene: Scene) -> None:
    behaving(scene, "cut")


@row("ship", "the server wants another password", "403", "ship.failed",
     {"reason": "not-allowed", "said": Words("403 Forbidden")})  # fmt: skip
def forbids(scene: Scene) -> None:
    behaving(scene, 403)


@row("ship", "a file is too large for the server", "413", "ship.failed", {"reason": "refused", "said": Words("413")})
def too_large(scene: Scene) -> None:
    behaving(scene, 413)


@row("ship", "the server redirects to a file", "307 to file:///etc/passwd", "ship.failed",
     {"reason": "redirected", "said": Words("to file://: redirects are not followed")})  # fmt: skip
def redirects_to_a_file(scene: Scene) -> None:
    behaving(scene, 307, "file:///etc/passwd")


@row("ship", "the server redirects to the machine's secrets", "302 to http://169.254.169.254/…", "ship.failed",
     {"reason": "redirected", "said": Words("to http://169.254.169.254: redirects are not followed")})  # fmt: skip
def redirects_inside(scene: Scene) -> None:
    behaving(scene, 302, "http://169.254.169.254/latest/s3cret")


@row("ship", "nobody listens", "port 1", "ship.failed", {"reason": "unreachable", "said": Words("Connection refused")})
def nobody_listens(scene: Scene) -> None:
    shipped_to(scene, "http://127.0.0.1:1/in")


@row("ship", "the host has no address", "nowhere.invalid", "ship.failed", {"reason": "unresolved"})
def unresolved(scene: Scene) -> None:
    shipped_to(scene, f"https://nowhere.invalid/in{SECRET}")


@row("ship", "the host is a link-local address", "http://0xa9fea9fe/, in another notation", "ship.failed",
     {"reason": "link-local", "said": Words("link-local")})  # fmt: skip
def link_local(scene: Scene) -> None:
    shipped_to(scene, f"http://0xa9fea9fe/in{SECRET}")


@row("ship", "the directory isn't there", "as of a share that isn't mounted", "ship.failed",
     {"reason": "no-directory", "said": Words("No such file"), "hint": Words("mkdir -p")})  # fmt: skip
def no_directory(scene: Scene) -> None:
    shipped_to(scene, "/nowhere/at/all")


@row("ship", "the directory is full", "tmpfs of 4 kB, in a namespace", "ship.failed",
     {"reason": "not-written", "said": Words("No space left"), "hint": Words("df -h")}, needs="mounts")  # fmt: skip
def full(scene: Scene) -> None:
    away = scene.folder / "away"
    away.mkdir()
    space = Namespace(f"mount -t tmpfs -o size=4k none {away}")
    scene.undo.callback(space.close)
    scene.begin(["--ship", str(away)], before=space.enter)


@row("ship", "guard is killed before all is away", "SIGKILL; started again in the same place", "ship.finished",
     {"scope": "earlier runs", "files": AtLeast(3)})  # fmt: skip
def killed(scene: Scene) -> None:
    receiver = behaving(scene, 500)
    scene.wait_for("run.started")
    os.kill(scene.guard_pid, 9)
    scene.process.wait()
    receiver.answer = 201
    scene.begin(env={"GUARD_SHIP": f"{receiver.url}/in"})
    scene.wait_for("ship.finished", scope="earlier runs")
