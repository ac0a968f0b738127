"""The target runs as if guard weren't there: what it is given, what it leaves behind, what its caller gets back.

Most tests run one command twice, bare and behind guard, and compare what it saw.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "bin" / "guard")
GUARD = [sys.executable, "-IS", SCRIPT]
PATIENCE_S = 60.0
MODES = [pytest.param([], id="watching"), pytest.param(["--no-watch"], id="init")]


def spawn(line: list[str | bytes], folder: Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run to the end, in a session without a terminal."""
    options = {"stdin": subprocess.DEVNULL, "cwd": folder, "timeout": PATIENCE_S, **options}
    if not {"stdout", "stderr", "capture_output"} & set(options):
        options["capture_output"] = True
    return subprocess.run(line, start_new_session=True, check=False, **options)


def both(
    options: list[str], command: list[str | bytes], folder: Path, **popen: Any
) -> tuple[subprocess.CompletedProcess[bytes], subprocess.CompletedProcess[bytes]]:
    """The command bare, and behind guard."""
    return spawn(command, folder, **popen), spawn([*GUARD, "run", "--quiet", *options, "--", *command], folder, **popen)


def python(text: str, *arguments: str) -> list[str]:
    return [sys.executable, "-ISc", textwrap.dedent(text), *arguments]


def gone(pid: int) -> bool:
    """Whether the process is gone, or dead and only not collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# -- what the target is given ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_stdin_passes_to_the_last_byte(tmp_path: Path, mode: list[str]) -> None:
    data = os.urandom(3_000_001)
    _, behind = both(mode, ["cat"], tmp_path, stdin=None, input=data)
    assert behind.stdout == data
    assert (behind.returncode, behind.stderr) == (0, b"")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams_stay_closed_and_guard_still_works(tmp_path: Path, mode: list[str], closing: str) -> None:
    """A descriptor of guard's own must not slip into the place of a closed stream."""
    probe = python(
        """
        import os, signal, sys
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(77))
        open_ones = []
        for fd in (0, 1, 2):
            try:
                os.fstat(fd)
                open_ones.append(fd)
            except OSError:
                pass
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(repr(open_ones))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        while True:
            signal.pause()
        """,
        str(tmp_path / "seen"),
    )
    line = ["sh", "-c", f'exec "$@" {closing}', "sh", *GUARD, "run", *mode]
    line += ["--parent-death-signal", "KILL", "--", *probe]
    process = subprocess.Popen(line, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        until((tmp_path / "seen").exists, "the target never ran")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 77
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    closed = {"<": 0, ">": 1, "2": 2}
    expected = [fd for fd in (0, 1, 2) if fd not in {closed[word[0]] for word in closing.split()}]
    assert (tmp_path / "seen").read_text() == repr(expected)


def test_streams_are_the_callers_own(tmp_path: Path) -> None:
    """Kind, offset and flags of each stream: no pipe of guard's in between, no O_NONBLOCK set."""
    source, sink = tmp_path / "source", tmp_path / "sink"
    source.write_bytes(b"0123456789")
    command = python(
        """
        import fcntl, os, sys
        for fd in (0, 1, 2):
            about = os.fstat(fd)
            where = os.lseek(fd, 0, 1) if fd == 0 else None
            print(about.st_dev, about.st_ino, oct(fcntl.fcntl(fd, 3)), os.isatty(fd), where)
        """
    )
    seen = []
    for line in (command, [*GUARD, "run", "--quiet", "--", *command]):
        with source.open("rb", buffering=0) as given, sink.open("wb", buffering=0) as taken:
            given.read(4)
            spawn(line, tmp_path, stdin=given, stdout=taken, stderr=taken)
        seen.append(sink.read_text())
    assert seen[0] == seen[1]
    assert seen[0].splitlines()[0].endswith("False 4")


@pytest.mark.parametrize("mode", MODES)
def test_environment_byte_for_byte(tmp_path: Path, mode: list[str]) -> None:
    environment = {
        b"PATH": os.environb[b"PATH"], b"a.b": b"1", b"EMPTY": b"", b"BAD": b"\xff\xfe\x80", b"LINES": b"one\ntwo\n",
        b"\xc3\xa4-\xff": b"name", b"with space": b"x=y=z", b"BASH_FUNC_f%%": b"() { :; }", b"PYTHONHASHSEED": b"7",
    }  # fmt: skip
    bare, behind = both(mode, ["/bin/cat", "/proc/self/environ"], tmp_path, env=environment)
    assert behind.stdout == bare.stdout
    assert b"LC_CTYPE" not in behind.stdout


def test_environment_without_a_single_variable(tmp_path: Path) -> None:
    bare, behind = both(["--no-watch"], ["/bin/cat", "/proc/self/environ"], tmp_path, env={})
    assert behind.stdout == bare.stdout == b""
    assert behind.returncode == 0


def test_directory_umask_limits_priority(tmp_path: Path) -> None:
    folder = tmp_path / "a dir\nwith ä"
    folder.mkdir()

    def prepare() -> None:
        os.umask(0o137)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 234))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 21))
        os.nice(3)

    command = ["sh", "-c", "pwd; umask; cat /proc/self/limits /proc/self/oom_score_adj; nice"]
    bare, behind = both([], command, folder, preexec_fn=prepare)
    assert behind.stdout == bare.stdout
    assert behind.stdout.startswith(os.fsencode(str(folder)) + b"\n0137\n")
    assert b"123" in behind.stdout


def _signals(text: bytes) -> dict[bytes, bytes]:
    fields = dict(line.split(b":\t", 1) for line in text.splitlines() if b":\t" in line)
    return {name: fields[name] for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn", b"SigCgt")}


def _block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN + 5, signal.SIGTERM])


def _ignore() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGRTMAX):
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prepare", [None, _block, _ignore], ids=["plain", "blocked", "ignored"])
def test_mask_and_dispositions(tmp_path: Path, mode: list[str], prepare: Callable[[], None] | None) -> None:
    bare, behind = both(mode, ["cat", "/proc/self/status"], tmp_path, preexec_fn=prepare)
    seen = _signals(behind.stdout)
    assert seen == _signals(bare.stdout)
    if prepare is _block:
        assert int(seen[b"SigBlk"], 16) & 1 << signal.SIGUSR1 - 1
    elif prepare is _ignore:
        assert int(seen[b"SigIgn"], 16) & 1 << signal.SIGHUP - 1
    else:
        assert int(seen[b"SigBlk"], 16) == 0


@pytest.mark.parametrize("mode", MODES)
def test_no_descriptor_leaks(tmp_path: Path, mode: list[str]) -> None:
    bare, behind = both(mode, ["ls", "/proc/self/fd"], tmp_path)
    assert behind.stdout == bare.stdout


@pytest.mark.parametrize("mode", MODES)
def test_an_inherited_descriptor_passes_and_is_not_held(tmp_path: Path, mode: list[str]) -> None:
    """A pipe handed to the target ends when the target closes it, though guard lives on."""
    read_end, write_end = os.pipe()
    text = f"import os; os.write({write_end}, b'hello'); os.close({write_end}); os.read(0, 1); os._exit(5)"
    command = python(text)
    process = subprocess.Popen([*GUARD, "run", "--quiet", *mode, "--", *command], cwd=tmp_path, stdin=subprocess.PIPE,
                               pass_fds=[write_end], start_new_session=True)  # fmt: skip
    os.close(write_end)
    with open(read_end, "rb") as file:
        assert file.read() == b"hello"
    assert process.poll() is None
    process.communicate(b"\n", timeout=PATIENCE_S)
    assert process.returncode == 5


def test_stdout_is_not_held(tmp_path: Path) -> None:
    """Whoever reads the target's stdout sees its end when the target closes it."""
    process = subprocess.Popen([*GUARD, "run", "--quiet", "--", "sh", "-c", "echo a; exec >&-; read line"],
                               cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read() == b"a\n"
    assert process.poll() is None
    process.communicate(b"\n", timeout=PATIENCE_S)
    assert process.returncode == 0


def test_guard_keeps_no_directory_busy(start: Any, tmp_path: Path) -> None:
    run = start([], ["sleep", "300"])
    run.wait_for("run.started")
    assert os.readlink(f"/proc/{run.process.pid}/cwd") == "/"


def test_a_script_without_an_interpreter_line(tmp_path: Path) -> None:
    script = tmp_path / "plain"
    script.write_text('echo "$0 $# $2"\nexit 9\n')
    script.chmod(0o755)
    behind = spawn([*GUARD, "run", "--quiet", "--", str(script), "a", "b c"], tmp_path)
    assert behind.stdout.decode() == f"{script} 2 b c\n"
    assert behind.returncode == 9


def test_arguments_byte_for_byte(tmp_path: Path) -> None:
    odd = [b"", b" ", b"--quiet", b"-x", b"\xff\xfe", b"a\nb", b"$HOME", b"*", b"--"]
    _, behind = both([], ["printf", r"%s\0", *odd], tmp_path)
    assert behind.stdout == b"".join(word + b"\0" for word in odd)


def test_without_a_terminal_the_target_has_a_session_of_its_own(tmp_path: Path) -> None:
    command = python("import os; print(os.getpid(), os.getpgrp(), os.getsid(0))")
    _, behind = both([], command, tmp_path)
    assert len(set(behind.stdout.split())) == 1


def test_chdir(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    _, behind = both(["--chdir", "below"], ["pwd"], tmp_path)
    assert behind.stdout.decode() == f"{tmp_path / 'below'}\n"
    assert (tmp_path / "profiles").is_dir()  # relative to where guard was started, not to the target's directory
    refused = spawn([*GUARD, "run", "--chdir", "absent", "--", "touch", str(tmp_path / "ran")], tmp_path)
    assert refused.returncode == 125
    assert b"--chdir absent" in refused.stderr and b"try:" in refused.stderr
    assert not (tmp_path / "ran").exists()


# -- what the caller gets back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes(tmp_path: Path, mode: list[str], code: int) -> None:
    _, behind = both(mode, ["sh", "-c", f"exit {code}"], tmp_path)
    assert behind.returncode == code


FATAL = ["HUP", "INT", "ABRT", "KILL", "USR1", "SEGV", "PIPE", "TERM", "XFSZ", "SYS"]


@pytest.mark.parametrize("mode", MODES)
def test_a_fatal_signal_gives_128_and_its_number(tmp_path: Path, mode: list[str]) -> None:
    for name in FATAL:
        number = getattr(signal, f"SIG{name}")
        command = python(
            f"import os, signal; signal.signal({number}, 0) if {number} != 9 else 0; os.kill(os.getpid(), {number})"
        )
        behind = both(mode, command, tmp_path, preexec_fn=_no_core)[1]
        assert (name, behind.returncode) == (name, 128 + number)


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def test_commands_that_cannot_be_run(tmp_path: Path) -> None:
    """As a shell has it: 127 not found, 126 found and not to be run; what, why, what to type."""
    (tmp_path / "data").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    orphaned = tmp_path / "orphaned"
    orphaned.write_text("#!/no/such/interpreter\n")
    orphaned.chmod(0o755)
    cases = {
        "no-such-command-7": (127, b"not found on PATH"),
        "./absent": (127, b"No such file"),
        "./data/below": (127, b"ls -l ./data/below"),
        "./orphaned": (127, b"interpreter"),
        "./data": (126, b"chmod +x"),
        "./folder": (126, b"is a directory"),
        "": (127, b"the command is empty"),
    }
    for name, (code, words) in cases.items():
        behind = spawn([*GUARD, "run", "--", name], tmp_path)
        assert (name, behind.returncode) == (name, code), behind.stderr
        assert words in behind.stderr and b"try:" in behind.stderr and b"Traceback" not in behind.stderr
    assert not (tmp_path / "profiles").exists()


def test_bad_command_lines(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for options in (["--no-such-option"], ["--warning"], ["--forward", "nobody"], ["--remap-exit", "1:256"],
                    ["--rewrite-signal", "15"], ["--rewrite-signal", "NOPE:3"], ["--stop-signal", "99"]):  # fmt: skip
        behind = spawn([*GUARD, "run", *options, "--", "touch", str(mark)], tmp_path)
        assert (options, behind.returncode) == (options, 2), behind.stderr
        assert options[0].encode() in behind.stderr and b"Traceback" not in behind.stderr
    for line in (["run"], ["run", "--"], ["run", "--", "echo", "a", "|", "touch", str(mark)]):
        behind = spawn([*GUARD, *line], tmp_path)
        assert (line, behind.returncode) == (line, 2), behind.stderr
    assert not mark.exists()


@pytest.mark.parametrize("mode", MODES)
def test_remap_exit(tmp_path: Path, mode: list[str]) -> None:
    options = [*mode, "--remap-exit", "143:0", "--remap-exit", "3:4"]
    codes = [
        both(options, ["sh", "-c", text], tmp_path)[1].returncode for text in ("kill -TERM $$", "exit 3", "exit 4")
    ]
    assert codes == [0, 4, 4]


# -- signals of the caller's choice ---------------------------------------------------------------------------------

ECHO = """
import os, signal, sys
def got(number, frame):
    os.write(1, f"{signal.Signals(number).name}\\n".encode())
    if number in (signal.SIGQUIT, signal.SIGUSR2):
        os._exit(40)
for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, got)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("mode", MODES)
def test_rewrite_signal(start: Any, mode: list[str]) -> None:
    run = start([*mode, "--rewrite-signal", "15:3"], python(ECHO))
    assert run.process.stdout.readline() == b"ready\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.process.stdout.read() == b"SIGQUIT\n"
    assert run.end() == 40


@pytest.mark.parametrize("mode", MODES)
def test_rewrite_to_0_drops_a_signal(start: Any, mode: list[str]) -> None:
    run = start([*mode, "--rewrite-signal", "TERM:0"], python(ECHO))
    assert run.process.stdout.readline() == b"ready\n"
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGUSR1)
    assert run.process.stdout.readline() == b"SIGUSR1\n"
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGUSR2)
    assert run.process.stdout.read() == b"SIGUSR2\n"
    assert run.end() == 40


FAMILY = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
child = os.fork()
name = "parent" if child else "child"
if child:
    os.write(1, b"ready\\n")
while True:
    number = signal.sigwait([signal.SIGUSR1, signal.SIGUSR2])
    os.write(1, f"{name} {signal.Signals(number).name}\\n".encode())
    if number == signal.SIGUSR2:
        os._exit(0)
    if child:
        # What was sent to the group before has the lower number and comes first.
        os.kill(child, signal.SIGUSR2)
        os.waitpid(child, 0)
        os._exit(0)
"""


@pytest.mark.parametrize("who", ["group", "child"])
def test_forward_to_group_or_child(start: Any, who: str) -> None:
    run = start(["--no-watch", "--forward", who], python(FAMILY))
    assert run.process.stdout.readline() == b"ready\n"
    run.process.send_signal(signal.SIGUSR1)
    seen = run.process.stdout.read().split(b"\n")[:-1]
    assert run.end() == 0
    expected = {b"parent SIGUSR1", b"child SIGUSR2"} | ({b"child SIGUSR1"} if who == "group" else set())
    assert set(seen) == expected


def test_parent_death_signal(start: Any) -> None:
    run = start(["--parent-death-signal", "USR2"], python("import os\nos.write(1, b'%d ' % os.getpid())" + ECHO))
    line = run.process.stdout.readline()
    pid = int(line.split()[0])
    try:
        run.process.kill()
        assert run.process.stdout.read() == b"SIGUSR2\n"
        until(lambda: gone(pid), "the target outlived guard")
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


# -- what the target leaves behind ----------------------------------------------------------------------------------

QUIETLY = "</dev/null >/dev/null 2>&1 &"


@pytest.mark.parametrize("mode", MODES)
def test_what_is_left_of_the_group_is_ended(tmp_path: Path, mode: list[str]) -> None:
    _, behind = both(mode, ["sh", "-c", f"sleep 300 {QUIETLY} echo $!; exit 6"], tmp_path)
    assert gone(int(behind.stdout))
    assert behind.returncode == 6


@pytest.mark.parametrize("mode", MODES)
def test_what_ignores_term_is_killed_after_the_stop_timeout(tmp_path: Path, mode: list[str]) -> None:
    command = ["sh", "-c", f"trap '' TERM; sleep 300 {QUIETLY} echo $!; exit 6"]
    started_s = time.monotonic()
    behind = spawn([*GUARD, "run", "--quiet", *mode, "--stop-timeout", "300ms", "--", *command], tmp_path)
    assert time.monotonic() - started_s >= 0.3
    assert gone(int(behind.stdout))
    assert behind.returncode == 6


def test_a_stopped_leftover_is_ended_too(tmp_path: Path) -> None:
    behind = spawn([*GUARD, "run", "--quiet", "--", "sh", "-c", f"sleep 300 {QUIETLY} kill -STOP $!; echo $!"],
                   tmp_path)  # fmt: skip
    assert gone(int(behind.stdout))
    assert behind.returncode == 0


@pytest.mark.parametrize("option", [["--keep-group"], ["--forward", "child"]])
def test_the_group_is_left_alone_when_asked(tmp_path: Path, option: list[str]) -> None:
    behind = spawn([*GUARD, "run", "--quiet", *option, "--", "sh", "-c", f"sleep 300 {QUIETLY} echo $!"], tmp_path)
    pid = int(behind.stdout)
    try:
        assert not gone(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_double_forked_and_setsid_children_are_watched(start: Any) -> None:
    daemon = python(
        """
        import os, sys
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print(os.getpid(), os.getppid(), flush=True)
            else:
                os._exit(0)
        else:
            os.wait()
        sys.stdin.read()
        """
    )
    run = start(["--interval", "100ms"], daemon, stdin=subprocess.PIPE)
    pid = int(run.process.stdout.readline().split()[0])

    def seen() -> bool:
        for path in run.profiles.glob("monitored/*/flight.jsonl"):
            for line in path.read_text().splitlines():
                if any(process["pid"] == pid for process in json.loads(line)["processes"]):
                    return True
        return False

    until(seen, "the daemon is in no sample")
    run.process.stdin.close()
    assert run.end() == 0
    until(lambda: gone(pid), "the daemon lives")


# -- a hostile place ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starter", [GUARD, [sys.executable, SCRIPT]], ids=["isolated", "plain"])
@pytest.mark.parametrize("mode", MODES)
def test_modules_of_the_users_do_not_reach_guard(tmp_path: Path, starter: list[str], mode: list[str]) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    names = ["signal", "json", "select", "structlog", "supervisor", "typing", "traceback"]
    if starter is GUARD:  # without -I the interpreter runs these before guard's first statement
        names += ["sitecustomize", "usercustomize"]
    for name in names:
        (bad / f"{name}.py").write_text(f"import os\nos.write(2, b'HIJACKED {name}')\nraise SystemExit(99)\n")
    environment = {
        **os.environ, "PYTHONPATH": str(bad), "PYTHONSTARTUP": str(bad / "json.py"), "PYTHONUSERBASE": str(bad),
        "PYTHONINSPECT": "1", "PYTHONWARNINGS": "error",
    }  # fmt: skip
    if starter is GUARD:  # without -I the interpreter itself can't start on this, guard or not
        environment["PYTHONHOME"] = "/no/such/home"
    behind = spawn([*starter, "run", *mode, "--", "sh", "-c", 'echo "$PYTHONPATH"; exit 8'], bad, env=environment)
    assert b"HIJACKED" not in behind.stderr
    assert behind.returncode == 8
    assert behind.stdout.decode() == f"{bad}\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_working_directory_with_modules_in_it(tmp_path: Path, mode: list[str]) -> None:
    for name in ("signal", "os", "json", "_signal", "supervisor", "structlog"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)\n")
    behind = spawn([sys.executable, SCRIPT, "run", "--quiet", *mode, "--", "sh", "-c", "exit 8"], tmp_path)
    assert (behind.returncode, behind.stderr) == (8, b"")


def test_a_fault_of_guards_own_changes_nothing_for_the_target(tmp_path: Path) -> None:
    """A broken watcher is said; the target keeps its init, its signals and its exit code."""
    for name in ("bin", "supervisor"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "supervisor" / "loop.py").write_text("raise RuntimeError('broken on purpose')\n")
    line = [sys.executable, "-IS", str(tmp_path / "bin" / "guard"), "run", "--", *python(ECHO)]
    process = subprocess.Popen(line, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        said = process.stderr.readline()
        process.send_signal(signal.SIGUSR2)
        assert process.stdout.read() == b"SIGUSR2\n"
        said += process.stderr.read()
    assert process.returncode == 40
    assert b"broken on purpose" in said
