"""`guard profile` and `guard overhead` with real targets, which run until their stdin ends."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import folded
from supervisor.analysis.block import read_block
from tests.integration.conftest import GUARD, PATIENCE_S
from tests.integration.driving import until

pytestmark = pytest.mark.integration

Guard = Callable[..., subprocess.CompletedProcess[bytes]]
BUSY = """
import json, os, select, signal, sys, threading
document = {str(number): [number] * 20 for number in range(200)}

def encode_reports():
    json.dumps(document)

def add_numbers():
    total = 0
    for number in range(20_000):
        total += number

def until_told():
    while not select.select([0], [], [], 0)[0]:
        add_numbers()
        encode_reports()

"""


class Profiling:
    """A running `guard profile`, its evidence, and its end."""

    def __init__(self, root: Path, line: list[str], **popen: Any) -> None:
        self.profiles = root / "profiles"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GUARD_", "CI"))}
        environment |= {"GUARD_PROFILES_DIR": str(self.profiles), "GUARD_ENV": "development", **popen.pop("env", {})}
        popen.setdefault("stderr", subprocess.PIPE)
        self.process = subprocess.Popen(
            [*GUARD, "profile", *line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=environment,
            **popen,
        )

    def wait_for_slice(self, number: int = 1) -> Path:
        """The folded file, once so many slices are in it."""
        deadline = time.monotonic() + PATIENCE_S
        seen: set[tuple[int, int]] = set()
        while time.monotonic() < deadline and self.process.poll() is None:
            for path in self.profiles.glob("*/*/*.folded"):
                status = path.stat()
                seen.add((status.st_ino, status.st_mtime_ns))
                if len(seen) >= number:
                    return path
            time.sleep(0.02)
        raise AssertionError(f"no slice: {self.process.communicate() if self.process.poll() is not None else 'late'}")

    def end(self, *, close: bool = True) -> tuple[int, str, str]:
        """Let the target end; exit code, stdout, stderr."""
        out, err = self.process.communicate(b"enough\n" if close else None, timeout=PATIENCE_S)
        return self.process.returncode, out.decode(), (err or b"").decode()

    def file(self, suffix: str, category: str = "development") -> Path:
        """The one evidence file of this kind."""
        (found,) = self.profiles.glob(f"{category}/*/001-profiling-cpu-profile{suffix}")
        return found

    def meta(self, category: str = "development") -> dict[str, Any]:
        """The profile's .meta.json."""
        return dict(json.loads(self.file(".meta.json", category).read_text()))

    def counts(self, category: str = "development") -> dict[str, int]:
        """The folded stacks."""
        return folded.parse(self.file(".folded", category).read_text().splitlines())


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Callable[..., Profiling]]:
    """Start `guard profile` with a target's source or a whole line."""
    started: list[Profiling] = []

    def begin(options: list[str], source: str | None = None, **popen: Any) -> Profiling:
        line = list(options)
        if source is not None:
            script = tmp_path / "target.py"
            script.write_text(BUSY + source)
            line += ["--", sys.executable, str(script)]
        started.append(Profiling(tmp_path, line, **popen))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A busy process that guard did not start."""
    script = tmp_path / "busy.py"
    script.write_text(BUSY + "print('ready', flush=True)\nuntil_told()\n")
    process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate(b"x", timeout=PATIENCE_S)
    assert process.returncode == 0  # no profiler hurt it


def test_a_command_keeps_its_streams_and_code_and_leaves_all_forms(profile: Callable[..., Profiling]) -> None:
    run = profile([], "until_told()\nprint(sys.stdin.readline().strip())\nsys.exit(7)\n")
    run.wait_for_slice()
    code, out, err = run.end()
    assert (code, out) == (7, "enough\n")
    assert "001-profiling-cpu-profile.md" in err
    assert "heap" in err
    functions = {each.function for each in folded.by_function(run.counts())}
    assert {"add_numbers", "encode_reports", "until_told"} <= functions
    for suffix in (".svg", ".speedscope.json", ".pb.gz", ".md", ".meta.json", ".folded"):
        path = run.file(suffix)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    meta = run.meta()
    assert meta["samples"] == sum(run.counts().values())
    assert meta["asked_rate_hz"] >= meta["used_rate_hz"] > 0
    assert meta["rate_reason"]
    assert meta["whole"] is True
    assert meta["overhead_budget"] == 0.10
    assert {"errors", "samples_missed", "achieved_rate_hz", "engine", "nonblocking", "gil_only"} <= set(meta)


def test_old_runs_make_room(profile: Callable[..., Profiling], tmp_path: Path) -> None:
    ago = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 3600 * hours)) for hours in (2, 1)]
    old = [tmp_path / "profiles" / "ci" / f"{began}-app-7-aaaa" for began in ago]
    for path in old:
        path.mkdir(parents=True)
        (path / "001-profiling-cpu-profile.md").write_text("old")
        os.utime(path, (0, 0))  # without a record, a young folder may be of a profile that runs
    run = profile(["--cpu"], "until_told()", env={"GUARD_KEEP_RUNS": "2"})
    run.wait_for_slice()
    assert run.end()[0] == 0
    assert [path.exists() for path in old] == [False, True]


def test_a_profile_that_is_being_taken_is_left_alone_by_retention(run_guard: Guard, tmp_path: Path) -> None:
    """Newer ones would push it out."""
    profiles = tmp_path / "profiles"
    environment = {**os.environ, "GUARD_PROFILES_DIR": str(profiles), "GUARD_ENV": "development"}
    line = [*GUARD, "profile", "--cpu", "--", "sh", "-c", "echo ready; read line"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, cwd=tmp_path, env=environment, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"ready\n"
        (live,) = (profiles / "development").iterdir()
        until(lambda: os.readlink(f"/proc/{process.pid}/fd/0") == os.devnull, "guard holds what it was given")
        (profiles / "development" / "20990101T000000Z-sh-1-abcd").mkdir()
        told = json.loads(run_guard("prune", "--keep-runs", "1", "--json", env=environment).stdout)
        assert told["live"] == 1 and told["kept"] == 1 and len(told["removed"]) == 1
        assert live.exists()
        process.stdin.close()


def test_a_signal_reaches_the_command_and_the_profile_is_kept(profile: Callable[..., Profiling]) -> None:
    run = profile([], "signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\nprint(flush=True)\nuntil_told()\n")
    assert run.process.stdout is not None
    os.read(run.process.stdout.fileno(), 1)
    run.wait_for_slice(2)
    run.process.send_signal(signal.SIGTERM)
    run.process.wait(PATIENCE_S)  # before its stdin is closed, which would end the target, too
    code, _, _ = run.end(close=False)
    assert code == 9
    assert run.meta()["samples"] > 0


def test_after_the_duration_it_tells_and_the_command_runs_on(profile: Callable[..., Profiling]) -> None:
    run = profile(["--duration", "1500ms"], "until_told()\nprint('done')\n")
    assert run.process.stderr is not None
    told = b""
    while b"guard: read " not in told:
        data = os.read(run.process.stderr.fileno(), 65536)
        assert data, told
        told += data
    assert run.process.poll() is None
    assert run.meta()["whole"] is False
    code, out, _ = run.end()
    assert (code, out) == (0, "done\n")


def test_production_shortens_names_and_folds_libraries_with_totals_kept(profile: Callable[..., Profiling]) -> None:
    run = profile(["--mode", "prod"], "until_told()\n")
    run.wait_for_slice()
    assert run.end()[0] == 0
    counts, meta = run.counts("production"), run.meta("production")
    frames = [folded.split_frame(text) for stack in counts for text in stack.split(";")]
    assert all(line is None and "/" not in (file or "") for _, file, line in frames)
    assert not any(file in ("encoder.py", "__init__.py") for _, file, _ in frames)
    assert meta["library_samples_folded"] > 0
    assert sum(counts.values()) == meta["samples"]
    # Within rounding of slices at different rates nothing was lost on the way from what was taken.
    if not meta["scaled_up_s"] and len({each["rate_hz"] for each in meta["rates"]}) == 1:
        assert meta["samples"] == meta["samples_taken"]


def test_critical_has_no_budget_and_keeps_everything(profile: Callable[..., Profiling]) -> None:
    run = profile(["--mode", "critical"], "until_told()\n")
    run.wait_for_slice()
    assert run.end()[0] == 0
    meta = run.meta("critical")
    assert meta["overhead_budget"] is None
    assert meta["rates"][0]["rate_hz"] == 1000
    frames = [folded.split_frame(text) for stack in run.counts("critical") for text in stack.split(";")]
    assert any(file and file.endswith("json/encoder.py") and line for _, file, line in frames)


def test_the_cap_thins_what_is_kept(profile: Callable[..., Profiling]) -> None:
    run = profile(["--mode", "critical", "--max-samples", "40"], "until_told()\n")
    run.wait_for_slice(2)
    assert run.end()[0] == 0
    meta = run.meta("critical")
    assert meta["samples"] <= 41 < meta["samples_taken"]
    assert meta["thinned"] is True
    assert meta["used_rate_hz"] < 1000


def test_many_threads_are_sampled_without_stopping_them(profile: Callable[..., Profiling]) -> None:
    source = "stop = threading.Event()\n"
    source += "for _ in range(64):\n    threading.Thread(target=stop.wait, daemon=True).start()\n"
    run = profile(["--overhead-budget", "3%"], source + "until_told()\n")
    run.wait_for_slice(3)
    assert run.end()[0] == 0
    meta = run.meta()
    dear = [each for each in meta["rates"] if each["threads"] > 60]
    assert dear
    # Stopping 64 threads takes 9 ms: inside 3 % that is 2 to 3 samples a second.
    assert all("without stopping" in each["way"] or each["rate_hz"] <= 4 for each in dear)
    assert meta["used_rate_hz"] < meta["asked_rate_hz"]


def test_a_shell_s_python_is_found(profile: Callable[..., Profiling], tmp_path: Path) -> None:
    script = tmp_path / "inner.py"
    script.write_text(BUSY + "until_told()\n")
    run = profile(["--", "sh", "-c", f"'{sys.executable}' '{script}'; exit 5"])
    run.wait_for_slice()
    assert run.end()[0] == 5
    meta = run.meta()
    assert meta["profiled_pid"] != meta["pid"]
    assert meta["samples"] > 0


def test_subprocesses(profile: Callable[..., Profiling]) -> None:
    source = "if os.fork() == 0:\n    until_told()\n    os._exit(0)\nuntil_told()\nos.wait()\n"
    run = profile(["--subprocesses"], source)
    run.wait_for_slice(2)
    assert run.end()[0] == 0
    frames = {text for stack in run.counts() for text in stack.split(";")}
    assert len([text for text in frames if text.startswith("process ")]) == 2


def test_what_is_no_python_is_explained_and_keeps_its_code(profile: Callable[..., Profiling]) -> None:
    run = profile(["--", "sh", "-c", "read line; exit 3"])
    time.sleep(1.0)  # the profiler looks for a Python meanwhile; it would be as right if it had not begun
    code, _, err = run.end()
    assert code == 3
    assert "not-python" in err or "ended-too-soon" in err
    assert "try:" in err


def test_a_process_for_a_while(busy: subprocess.Popen[bytes], profile: Callable[..., Profiling]) -> None:
    run = profile(["--pid", str(busy.pid), "--duration", "2", "--json", "--output", "reports/baseline.md"])
    code, out, _ = run.end(close=False)
    assert code == 0
    document = json.loads(out)
    assert document["pid"] == busy.pid
    assert document["profiles"]["cpu-profile"]["samples"] > 0
    assert 0.5 < run.meta()["seconds"] < 6
    baseline = run.profiles.parent / "reports" / "baseline.md"
    block = read_block(baseline.read_text())
    assert block["kind"] == "cpu"
    assert any(each["function"] == "add_numbers" for each in block["functions"])
    assert stat.S_IMODE(baseline.stat().st_mode) == 0o600


def test_ctrl_c_keeps_what_there_is(busy: subprocess.Popen[bytes], profile: Callable[..., Profiling]) -> None:
    run = profile(["--pid", str(busy.pid), "--duration", "1h"])
    run.wait_for_slice()
    run.process.send_signal(signal.SIGINT)
    code, out, _ = run.end(close=False)
    assert code == 0
    assert "add_numbers" in out
    meta = run.meta()
    assert meta["ended_early"] == "interrupted"
    assert meta["samples"] == sum(run.counts().values()) > 0


def test_a_traced_process_is_read_without_stopping_it(
    busy: subprocess.Popen[bytes], profile: Callable[..., Profiling], tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tracer = subprocess.Popen(["strace", "-o", tmp_path / "calls", "-e", "trace=none", "-p", str(busy.pid)])
    try:
        while f"TracerPid:\t{tracer.pid}" not in Path(f"/proc/{busy.pid}/status").read_text():
            assert tracer.poll() is None
            time.sleep(0.01)
        run = profile(["--pid", str(busy.pid), "--duration", "2"])
        code, _, err = run.end(close=False)
    finally:
        tracer.terminate()
        tracer.wait(PATIENCE_S)
    assert code == 0, err
    assert run.meta()["nonblocking"] is True
    assert str(tracer.pid) in run.meta()["rate_reason"]


def test_a_terminal_sees_progress_and_a_pipe_does_not(
    busy: subprocess.Popen[bytes], profile: Callable[..., Profiling]
) -> None:
    control, terminal = pty.openpty()
    run = profile(["--pid", str(busy.pid), "--duration", "2"], stderr=terminal, env={"TERM": "xterm"})
    os.close(terminal)
    shown = b""
    while True:
        try:
            data = os.read(control, 65536)
        except OSError:  # EIO: the last writer is gone
            break
        if not data:
            break
        shown += data
    os.close(control)
    assert run.end(close=False)[0] == 0
    assert f"profiling {busy.pid}".encode() in shown
    quiet = profile(["--pid", str(busy.pid), "--duration", "1"])
    assert "profiling" not in quiet.end(close=False)[2]


def test_the_demo_shows_its_markdown(profile: Callable[..., Profiling]) -> None:
    run = profile(["--demo"])
    code, out, said = run.end(close=False)
    assert code == 0
    assert "heap-profile: not in the demo" in said and "/../" not in out + said
    assert "## Call Tree" in out
    assert "sort_words" in out
    assert "find_primes" in out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "nothing to profile"),
        (["--demo", "--pid", "1"], "can't go together"),
        (["--pid", "4194305"], "there is no process"),
        (["--mode", "fast", "--demo"], "it takes smart"),
        (["--adaptive", "--mode", "prod", "--demo"], "different things"),
        (["--output", "profile.xyz", "--demo"], ".speedscope.json"),
        (["--output", ".", "--demo"], "format"),
        (["--heap", "--output", "heap.pb.gz", "--demo"], "a heap profile has no such form"),
        (["--duration", "soon", "--demo"], "--duration"),
        (["--duration", "-1s", "--demo"], "--duration"),
        (["--max-samples", "0", "--demo"], "--max-samples"),
        (["--", "echo", "a", "|", "cat"], "guard profile -- sh -c"),
    ],
)
def test_bad_input_is_explained(line: list[str], words: str, run_guard: Guard, tmp_path: Path) -> None:
    done = run_guard("profile", *line, cwd=tmp_path)
    assert done.returncode == 2, done
    assert words in done.stderr.decode()
    assert not (tmp_path / "profiles").exists()


def test_a_command_that_is_not_there_leaves_nothing(run_guard: Guard, tmp_path: Path) -> None:
    done = run_guard("profile", "--", "no-such-program", cwd=tmp_path)
    assert done.returncode == 127
    assert not list((tmp_path / "profiles").glob("*/*"))


def test_an_output_that_is_not_written_is_told(run_guard: Guard, tmp_path: Path) -> None:
    output = tmp_path / "baseline.md"
    output.write_text("as it was")
    done = run_guard(
        "profile",
        "--cpu",
        "--duration",
        "20ms",
        "--output",
        str(output),
        "--",
        "sh",
        "-c",
        "sleep 1; exit 3",
        cwd=tmp_path,
    )
    said = done.stderr.decode()
    assert done.returncode == 3 and output.read_text() == "as it was"
    assert "duration-too-short: the duration ended" in said and "written to" not in said
    assert f"--output {output} was not written: there is no cpu-profile; the file that is there is an older one" in said


def test_a_place_that_can_t_be_used_is_told(busy: subprocess.Popen[bytes], run_guard: Guard, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    options = ["--pid", str(busy.pid), "--duration", "1", "--profiles-dir", "link"]
    done = run_guard("profile", *options, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"it is a link" in done.stdout
    assert not list((tmp_path / "elsewhere").iterdir())
    assert list((tmp_path / "temporary").glob("guard-*/profiles/*/*/001-profiling-cpu-profile.md"))


def test_overhead_measures_and_tells(run_guard: Guard, tmp_path: Path) -> None:
    options = ["--runs", "2", "--warmup", "0", "--modes", "watch,prod", "--json"]
    done = run_guard("overhead", *options, "--", "sleep", "0.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [each["way"] for each in document["ways"]] == ["none", "watch", "prod"]
    assert all(0.01 < each["median_s"] < 30 for each in document["ways"])  # the start is seen late on a busy machine
    assert document["blocks"] == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_overhead_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "begun"
    (tmp_path / "temporary").mkdir()
    line = [
        "overhead",
        "--modes",
        "watch",
        "--",
        "sh",
        "-c",
        f"echo $$ >{mark}.new; mv {mark}.new {mark}; exec sleep 1000",
    ]
    process = subprocess.Popen([*GUARD, *line], cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")})
    deadline = time.monotonic() + PATIENCE_S
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 128 + number
    assert not list((tmp_path / "temporary").iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_overhead_tells_why_guard_refused(run_guard: Guard, tmp_path: Path) -> None:
    line = ["overhead", "--runs", "1", "--warmup", "0", "--modes", "prod", "--", "sleep", "0.1"]
    said = run_guard(*line, cwd=tmp_path, env={**os.environ, "GUARD_LOG_LEVEL": "bogus"}).stderr.decode()
    assert "guard: sleep was not started (prod): GUARD_LOG_LEVEL='bogus' in the environment: not accepted" in said


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["--", "false"], 1, "--ignore-failure"),
        (["--modes", "slow", "--", "true"], 2, "it takes watch"),
        ([], 2, "no command"),
    ],
)
def test_overhead_refuses(line: list[str], code: int, words: str, run_guard: Guard, tmp_path: Path) -> None:
    done = run_guard("overhead", *line, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr.decode()
