"""`guard oomd-hook` asked as systemd-oomd asks: real groups, real processes that grow, a real kill after the answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import GUARD, Run
from tests.integration.test_schemas import documents, faults
from tests.telling import PATIENCE_S

pytestmark = pytest.mark.integration
NOTIFY = "io.systemd.oom.Prekill.Notify"
GROWS = """
import sys, time
kept = []
def hoard():
    kept.append(bytearray(4 << 20))
for _ in range(20):
    hoard()
print("ready", flush=True)
while len(kept) < 200:
    hoard()
    time.sleep(0.02)
time.sleep(1000)
"""


class Group:
    """A cgroup of version 2, with processes."""

    def __init__(self, mount: Path, name: str) -> None:
        self.name = f"/{name}"
        self.path = mount / name
        self.path.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """A process in it, that has said its first word."""
        line = ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path), *command]
        self.processes.append(subprocess.Popen(line, stdout=subprocess.PIPE))
        assert self.processes[-1].stdout is not None and self.processes[-1].stdout.readline()
        return self.processes[-1]

    def python(self, program: str = GROWS) -> int:
        """A Python in it; its pid."""
        return self.run(sys.executable, "-IS", "-c", program).pid

    def kill(self) -> None:
        """As oomd does."""
        (self.path / "cgroup.kill").write_text("1")
        for process in self.processes:
            process.wait()

    def remove(self) -> None:
        self.kill()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@pytest.fixture
def groups() -> Iterator[Callable[[], Group]]:
    """Makes groups."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mount = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    if mount is None or not os.access(mount, os.W_OK):
        pytest.skip("absent: cgroup v2 that may be written (root)")
    made: list[Group] = []

    def make() -> Group:
        assert mount is not None
        made.append(Group(mount, f"guard-test-{os.urandom(4).hex()}"))
        return made[-1]

    yield make
    for group in made:
        group.remove()


class Oomd:
    """A connection to the hook, as oomd has one for each kill."""

    def __init__(self, path: Path | str) -> None:
        self.end = socket.socket(socket.AF_UNIX)
        self.end.settimeout(PATIENCE_S)
        try:
            self.end.connect(str(path))
        except OSError:
            self.end.close()
            raise
        self._data = b""

    def notify(self, group: str) -> None:
        """The call, in the bytes of sd-varlink."""
        self.end.sendall(b'{"method":"%s","parameters":{"cgroup":"%s"}}\0' % (NOTIFY.encode(), group.encode()))

    def answer(self) -> Any:
        """The next message."""
        while b"\0" not in self._data:
            data = self.end.recv(65536)
            assert data, "closed without an answer"
            self._data += data
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)

    def ask(self, method: str, **parameters: object) -> Any:
        """A call and its answer."""
        self.end.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")
        return self.answer()


Begin = Callable[..., tuple[Run, Callable[[], Oomd]]]


@pytest.fixture
def begin(start: Callable[..., Run], tmp_path: Path) -> Iterator[Begin]:
    """Start the hook: the run, and a function that connects to it."""
    made: list[Oomd] = []
    path = tmp_path / "hooks" / "guard"

    def beginning(*options: str, **popen: Any) -> tuple[Run, Callable[[], Oomd]]:
        run = start(["--socket", str(path), *options], [], subcommand="oomd-hook", **popen)
        assert run.wait_for("prekill.listening")["path"] == str(path)

        def connect() -> Oomd:
            made.append(Oomd(path))
            return made[-1]

        return run, connect

    yield beginning
    for each in made:
        each.end.close()


def told(*arguments: str) -> Any:
    """What a command of guard's says as JSON."""
    return json.loads(subprocess.run([*GUARD, *arguments], capture_output=True, check=True, timeout=PATIENCE_S).stdout)


def test_evidence_is_there_when_oomd_may_kill(begin: Begin, groups: Callable[[], Group], tmp_path: Path) -> None:
    run, connect = begin("--deadline", "40s", "--growth", "2s")
    group = groups()
    group.run("/bin/sh", "-c", "echo ready; sleep 1000; exit")
    pid = group.python()
    oomd = connect()
    oomd.notify(group.name)
    assert oomd.answer() == {"parameters": {}}
    (stacks,) = run.evidence("*.stacks.json")
    frames = [frame["name"] for thread in json.loads(stacks.read_text())["threads"] for frame in thread["frames"]]
    assert "<module>" in frames
    (snapshot,) = run.evidence("*.snapshot.json")
    assert json.loads(snapshot.read_text())["processes"][0]["pid"] == pid
    (growth,) = run.evidence("*-growth.md")
    assert "hoard" in growth.read_text()
    group.kill()
    ended = run.wait_for("run.exited")
    assert (ended["outcome"], ended["code"], ended["signal"]) == ("oom-killed", 137, "SIGKILL")
    asked = run.wait_for("prekill.asked")
    assert (asked["cgroup"], asked["pid"], asked["count"]) == (group.name, pid, 3)
    assert run.wait_for("prekill.answered")["reason"] == "evidence was taken"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0, run.said()
    record = run.record
    assert (record["killer"], record["unit"], record["pid"]) == ("systemd-oomd", group.name, pid)
    assert record["suspect"]["pid"] == pid and record["peak_bytes"] > 80 << 20
    found = list(documents(run.profiles))
    assert [fault for one in found for fault in faults(*one)] == []
    where = ("--profiles-dir", str(run.profiles))
    (row,) = told("runs", "--json", *where)["runs"]
    assert (row["outcome"], row["evidence"]) == ("oom-killed", 3)
    death = told("postmortem", "--json", *where)
    assert (death["ended"]["cause"], death["ended"]["certainty"]) == ("oom-kill", "certain")
    assert "systemd-oomd" in death["ended"]["words"]
    assert death["limit"] is None  # it was killed for no limit of its own
    page = tmp_path / "report.html"
    subprocess.run([*GUARD, "report", "--output", str(page), *where], check=True, capture_output=True)
    assert "systemd-oomd" in page.read_text()


def test_several_kills_at_once(begin: Begin, groups: Callable[[], Group]) -> None:
    run, connect = begin("--deadline", "40s", "--growth", "0")
    made = [groups() for _ in range(3)]
    pids = {group.python() for group in made}
    callers = [connect() for _ in [*made, made[0]]]  # the first group is told of twice
    for caller, group in zip(callers, [*made, made[0]], strict=True):
        caller.notify(group.name)
    assert connect().ask("org.varlink.service.GetInfo")["parameters"]["vendor"] == "guard"  # nobody is held up
    assert [caller.answer() for caller in callers] == [{"parameters": {}}] * 4
    for group in made:
        group.kill()
    for group in made:
        run.wait_for("prekill.answered", cgroup=group.name)
    assert len(run.evidence("*.stacks.json")) == 3
    for pid in pids:
        run.wait_for("prekill.asked", pid=pid)
    ended: set[str] = set()
    while len(ended) < 3:
        ended.add(run.wait_for(lambda event: event["event"] == "run.exited" and event["run"] not in ended)["run"])
    assert len(run.named("prekill.asked")) == 3


def child_of(run: Run) -> int:
    """The process that follows the one kill."""
    pid = run.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_kill_that_hangs_is_answered_at_the_deadline(begin: Begin, groups: Callable[[], Group]) -> None:
    run, connect = begin("--deadline", "3s")
    group = groups()
    group.python()
    oomd = connect()
    began_s = time.monotonic()
    oomd.notify(group.name)
    run.wait_for("prekill.asked")
    child = child_of(run)
    os.kill(child, signal.SIGSTOP)
    assert oomd.answer() == {"parameters": {}}
    assert time.monotonic() - began_s < 10
    late = run.wait_for("prekill.answered", reason="its process is late")
    assert late["cgroup"] == group.name
    os.kill(child, signal.SIGCONT)
    group.kill()
    assert run.wait_for("run.exited")["outcome"] == "oom-killed"


def test_a_kill_whose_process_dies_is_answered_at_once(begin: Begin, groups: Callable[[], Group]) -> None:
    run, connect = begin("--deadline", "50s", "--growth", "40s")
    group = groups()
    group.python()
    oomd = connect()
    oomd.notify(group.name)
    run.wait_for("prekill.asked")
    os.kill(child_of(run), signal.SIGKILL)
    assert oomd.answer() == {"parameters": {}}
    assert run.wait_for("prekill.failed")["code"] == 137
    oomd.notify("/no/such/group")  # and the service lives
    assert oomd.answer() == {"parameters": {}}
    run.wait_for("prekill.failed", cgroup="/no/such/group")
    assert told("postmortem", "--json", "--profiles-dir", str(run.profiles))["ended"]["cause"] == "oom-kill"


def test_told_to_end_it_lets_oomd_go_on_and_keeps_what_it_has(begin: Begin, groups: Callable[[], Group]) -> None:
    run, connect = begin("--deadline", "50s", "--growth", "40s")
    group = groups()
    group.python()
    oomd = connect()
    oomd.notify(group.name)
    run.wait_for("action.finished", action="stacks")
    run.process.send_signal(signal.SIGTERM)
    assert oomd.answer() == {"parameters": {}}
    assert run.end() == 0, run.said()
    assert run.record["outcome"] == "stopped"
    assert len(run.evidence("*.stacks.json")) == 1
    with pytest.raises(OSError):
        connect()


def test_nothing_to_be_read_is_answered_at_once(begin: Begin, groups: Callable[[], Group]) -> None:
    run, connect = begin("--deadline", "50s")
    group = groups()
    oomd = connect()
    for name in (group.name, "/no/such/group"):
        oomd.notify(name)
        assert oomd.answer() == {"parameters": {}}
    assert run.wait_for("prekill.failed")["cgroup"] == "/no/such/group"
    assert not (run.profiles / "monitored").exists()


def test_bad_input_gets_its_error_and_harms_nobody(begin: Begin) -> None:
    run, connect = begin()
    oomd = connect()
    oomd.end.sendall(b"no json\0[]\0" + b'{"method":"a.b.C"}\0')  # several in one packet, answered in their order
    assert [oomd.answer()["error"].rpartition(".")[2] for _ in range(3)] == [
        "InvalidParameter", "InvalidParameter", "MethodNotFound",
    ]  # fmt: skip
    assert oomd.ask(NOTIFY, cgroup="/../../etc") == {
        "error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "cgroup"},
    }  # fmt: skip
    for byte in b'{"method":"org.varlink.service.GetInfo"}\0':
        oomd.end.sendall(bytes([byte]))
    assert oomd.answer()["parameters"]["product"] == "guard oomd-hook"
    oomd.end.sendall(b'{"method":"org.varlink.service.GetInfo","oneway":true}\0')
    assert oomd.ask(NOTIFY, cgroup="/no/such/group") == {"parameters": {}}  # no answer to the other one came before
    long = connect()
    with contextlib.suppress(OSError):  # it is closed while this still talks
        long.end.sendall(b"x" * (1 << 20))
    assert long.answer()["parameters"] == {"parameter": "message"}
    gone = connect()
    gone.notify("/no/such/group")
    gone.end.close()
    half = connect()  # who closes only the sending side still gets an answer
    half.notify("/no/such/group")
    half.end.shutdown(socket.SHUT_WR)
    assert half.answer() == {"parameters": {}}
    assert half.end.recv(1) == b""
    assert connect().ask("org.varlink.service.GetInfo")["parameters"]["vendor"] == "guard"
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0 and run.noise == [], run.said()


def test_another_user_is_refused(begin: Begin, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("absent: root")
    run, connect = begin()
    path = tmp_path / "hooks" / "guard"
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect('guard'); print(s.recv(999))"
    line = ["python3", "-IS", "-c", code]
    line[0] = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable

    def asked() -> subprocess.CompletedProcess[str]:
        where = path.parent
        fd = os.open(where, os.O_RDONLY)
        try:
            return subprocess.run(
                line, capture_output=True, text=True, user=65534, group=65534, extra_groups=[],
                cwd=f"/proc/{os.getpid()}/fd/{fd}", timeout=PATIENCE_S,
            )  # fmt: skip
        finally:
            os.close(fd)

    assert "Permission denied" in asked().stderr
    path.chmod(0o666)
    path.parent.chmod(0o755)
    done = asked()
    assert "org.varlink.service.PermissionDenied" in done.stdout, done.stderr
    assert "user 65534" in run.wait_for("prekill.refused")["reason"]
    assert connect().ask("org.varlink.service.GetInfo")["parameters"]["vendor"] == "guard"


def test_with_a_socket_from_systemd(start: Callable[..., Run], groups: Callable[[], Group], tmp_path: Path) -> None:
    """As sd_listen_fds(3) has it; and evidence goes to the unit's state directory."""
    group = groups()
    group.python()
    path = tmp_path / "given"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # Descriptor 3, and the pid that the exec keeps.
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='x', LISTEN_PID=str(os.getpid())); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        environment = {"STATE_DIRECTORY": str(tmp_path / "state"), "GUARD_PROFILES_DIR": ""}
        listener.set_inheritable(True)
        run = start(
            ["--growth", "0", "--deadline", "40s"], [], subcommand="oomd-hook", env=environment,
            guard=[sys.executable, "-IS", "-c", code, str(listener.fileno()), *GUARD], pass_fds=[listener.fileno()],
        )  # fmt: skip
        oomd = Oomd(path)  # before it is ready: that is what such a socket is for
        oomd.notify(group.name)
        assert oomd.answer() == {"parameters": {}}
        oomd.end.close()
        listening = run.wait_for("prekill.listening")
        assert (listening["path"], listening["evidence"]) == (str(path), str(tmp_path / "state"))
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == 0, run.said()
    assert path.exists()  # it is systemd's, and stays
    assert len(list(tmp_path.glob("state/auto-memory/*/*.stacks.json"))) == 1


@pytest.mark.parametrize("option", [("--deadline", "soon"), ("--deadline", "0"), ("--growth", "-1s")])
def test_a_bad_option_is_explained(run_guard: Callable[..., Any], option: tuple[str, str]) -> None:
    done = run_guard("oomd-hook", *option)
    assert done.returncode == 2 and option[0].encode() in done.stderr
