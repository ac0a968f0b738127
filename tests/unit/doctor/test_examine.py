from __future__ import annotations

import os
import signal
import time

from supervisor.doctor import examine, tryout
from supervisor.doctor.examine import Finding, Report
from supervisor.doctor.tryout import Check, Scene, Verdict
from supervisor.profilers.failure import Failure


def scene() -> Scene:
    return Scene(os.getpid(), None, "self", "/nowhere", trouble="none was started")


REPORT = Report(
    (
        Finding("stacks", "profilers", "works", "3 threads", ""),
        Finding("trap", "profilers", "refused", "not permitted", "docker run --cap-add SYS_PTRACE"),
        Finding("log", "evidence", "absent", "no pod", ""),
    ),
    {"pid": 7, "name": "app", "command": ["app"]},
)


def test_text_counts_and_tells_how_to_get_the_rest() -> None:
    text = examine.text(REPORT)
    assert "3 capabilities: 1 work (33.3 %), 1 refused, 1 absent by nature" in text
    assert text.splitlines()[-1] == "  trap: docker run --cap-add SYS_PTRACE"
    assert text.startswith("tried on process 7 (app)")


def test_document() -> None:
    document = examine.document(REPORT)
    assert document["counts"] == {"total": 3, "works": 1, "refused": 1, "absent": 1, "works_share": 0.3333}
    assert document["capabilities"][1]["hint"] == "docker run --cap-add SYS_PTRACE"


def test_whatever_a_check_raises_is_a_finding() -> None:
    def refuse(scene: Scene) -> Verdict:
        raise PermissionError(1, "Operation not permitted", "/proc/1/mem")

    def fail(scene: Scene) -> Verdict:
        raise Failure("ptrace-refused", "no", "sysctl x=1")

    def break_down(scene: Scene) -> Verdict:
        raise RuntimeError("a bug")

    for attempt, said in ((refuse, "/proc/1/mem"), (fail, "ptrace-refused: no"), (break_down, "RuntimeError: a bug")):
        verdict = tryout.bounded(Check("x", attempt), scene())
        assert verdict.status == tryout.REFUSED
        assert said in verdict.detail
        assert verdict.hint


def test_a_check_that_hangs_is_ended() -> None:
    def hang(scene: Scene) -> Verdict:
        time.sleep(1000)
        raise AssertionError

    verdict = tryout.bounded(Check("x", hang, 0.1), scene())
    assert (verdict.status, verdict.detail) == (tryout.REFUSED, "no answer within 0.1 s")


def test_a_check_that_the_kernel_kills_is_a_finding() -> None:
    def die(scene: Scene) -> Verdict:
        os.kill(os.getpid(), signal.SIGSYS)
        raise AssertionError

    verdict = tryout.bounded(Check("x", die), scene())
    assert verdict.detail == "the try ended by SIGSYS"
