"""What all tests share: hypothesis without deadlines, and which tests get a second run, told as such.

A deadline on a busy machine fails tests that are not wrong. So does, once in thousands, what real processes, kernels
and containers do: such a test is run again, its first failure told; when several need that, the suite fails all the
same.
"""

import signal

import pytest
from hypothesis import settings

# A shell ignores these for what it starts in the background, and all that tests start would inherit it.
for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, action)

settings.register_profile("guard", deadline=None)
settings.load_profile("guard")

REAL = ("integration", "container", "vm", "browser")
UNSTEADY_MOST = 3
_again: list[pytest.TestReport] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A second run for what runs more than this process."""
    for item in items:
        if any(item.get_closest_marker(name) for name in REAL):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count them."""
    if report.outcome == "rerun":  # type: ignore[comparison-overlap]
        _again.append(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Too many are no chance."""
    if len(_again) > UNSTEADY_MOST and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name them."""
    if _again:
        most = f"more than {UNSTEADY_MOST}: failed" if len(_again) > UNSTEADY_MOST else f"at most {UNSTEADY_MOST} may"
        terminalreporter.section(f"needed a second run ({most})")
        for report in _again:
            terminalreporter.line(report.nodeid, bold=True)
            terminalreporter.line(report.longreprtext)
