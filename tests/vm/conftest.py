"""Tests that need a kernel of their own run inside a small machine (see `machine`), each reported as a test out here.

A boot is dear, so one serves all that were selected; it begins with the session and runs, giving way, beside the other
tests. Out here every test of this directory is replaced by a `Guest`,
which waits for its namesake's result; in there they are ordinary tests. Without a machine they are skipped with the
reason, under CI=true they fail with it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import start
from tests.vm.groups import Group
from tests.vm.machine import INSIDE, MARK, TIMEOUT_S, Machine, NotToBeHad, lacking

HERE = Path(__file__).resolve().parent
_machine = pytest.StashKey[Machine]()
__all__ = ["start"]


class GuestFailed(Exception):
    """What the test in the machine said."""


class Guest(pytest.Item):
    """A test that runs in the machine."""

    def runtest(self) -> None:
        """Take this one's result."""
        reason = lacking()
        if not reason:
            try:
                self._take()
                return
            except NotToBeHad as error:
                reason = str(error)
        if os.environ.get("CI") == "true":
            raise GuestFailed(f"the machine can't be had: {reason}")
        pytest.skip(f"the machine can't be had: {reason}")

    def _take(self) -> None:
        try:
            phases = self.session.stash[_machine].phases(self.nodeid)
        except RuntimeError as error:
            raise GuestFailed(str(error)) from None
        for phase in phases:
            if phase["outcome"] == "failed":
                raise GuestFailed(phase["text"])
            if phase["outcome"] == "skipped":
                pytest.skip(phase["text"])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The report from inside as it is."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, 0, self.name


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this directory; out here, put guests in their places."""
    for index, item in enumerate(items):
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.vm)
        if INSIDE not in os.environ:
            guest = Guest.from_parent(item.parent, name=item.name)
            guest.own_markers.extend(item.own_markers)
            guest.add_marker(pytest.mark.timeout(TIMEOUT_S + 60))
            items[index] = guest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Turn the machine on."""
    guests = [item.nodeid for item in session.items if isinstance(item, Guest)]
    if guests and not session.config.option.collectonly and not lacking():
        session.stash[_machine] = Machine(guests)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn the machine off."""
    if _machine in session.stash:
        session.stash[_machine].close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the machine: say what came out."""
    if INSIDE not in os.environ:
        return
    text = report.longreprtext
    if report.skipped and isinstance(report.longrepr, tuple):
        text = report.longrepr[2]
    line = {"nodeid": report.nodeid, "when": report.when, "outcome": report.outcome, "text": text}
    sys.stdout.write(f"\n{MARK}{json.dumps({**line, 'seconds': round(report.duration, 1)})}\n")
    sys.stdout.flush()


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A cgroup of the test's own; what is in it is killed and it is removed when the test ends."""
    made = Group("test-" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name))
    yield made
    made.remove()
