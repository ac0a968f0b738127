import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers import node


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("node app.js", "", (False, 9229, "")),
        ("node --inspect app.js", "", (True, 9229, "")),
        ("node --inspect=0.0.0.0:9000 app.js", "", (True, 9000, "")),
        ("node --inspect=0 app.js", "", (True, 0, "")),
        ("node --inspect-port 9333 app.js", "", (False, 9333, "")),
        ("node --inspect-port=[::1]:9334 app.js", "", (False, 9334, "")),
        ("node app.js --inspect=1 --disable-sigusr1", "", (False, 9229, "")),
        ("node -r ./hook.js --inspect-brk=12 app.js", "", (True, 12, "")),
        ("node -- --inspect", "", (False, 9229, "")),
        ("node app.js", "--inspect=9111 --max-old-space-size=64", (True, 9111, "")),
        ("node --inspect=9112 app.js", "--inspect=9111", (True, 9112, "")),
        ("node --inspect=nonsense --inspect-port=99999 app.js", "", (True, 9229, "")),
        ("node --disable-sigusr1 app.js", "", (False, 9229, "--disable-sigusr1")),
        ("node app.js", "--heapsnapshot-signal=SIGUSR1", (False, 9229, "--heapsnapshot-signal=SIGUSR1")),
        ("node --report_signal=SIGUSR1 app.js", "", (False, 9229, "--report-signal=SIGUSR1")),
        ("node --report-signal=SIGUSR2 app.js", "", (False, 9229, "")),
        ("", "", (False, 9229, "")),
    ],
)
def test_the_options_tell(command: str, options: str, expected: tuple[bool, int, str]) -> None:
    found = node.flags(command.split(), options)
    assert (found.inspects, found.port, found.taken) == expected


@given(st.lists(st.text(max_size=30), max_size=10), st.text(max_size=100))
def test_any_command_line_is_read(command: list[str], options: str) -> None:
    assert 0 <= node.flags(command, options).port < 65536


def test_whether_a_signal_is_caught() -> None:
    before = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        assert node.catches(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        assert not node.catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert not node.catches(1 << 30)


def test_the_age_of_a_process() -> None:
    assert 0 <= node.age_s(os.getpid()) < 86400
    assert node.age_s(1 << 30) == float("inf")
