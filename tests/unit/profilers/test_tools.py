"""What perf, rbspy and .NET's tools are told, and what they tell: command lines, output, failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.actions import runtime_heap, ways
from supervisor.actions.task import Skip, Task
from supervisor.actions.trying import Samplers
from supervisor.analysis import folded
from supervisor.analysis.reading import FormatError
from supervisor.profilers import dotnet, engine, pace, perf, rbspy, recorder, runner, stdlib
from supervisor.profilers.failure import Failure

PERF = """\
leak  711/711
\t          4699c1 main.spinAround (/srv/leak)
\t          432a37 runtime.main (/srv/leak)
\t          4699c1 [unknown] ([unknown])

le 7/9 ak  711/712
\tffffffff81a0b6e0 clear_page_erms ([kernel.kallsyms])
\t    7f1234 std::vector<int, std::allocator<int> >::push_back(int const&) (/srv/my app (1).so (deleted))
\t           12d0f [unknown] (/usr/bin/dash)

"""


def test_perf_samples() -> None:
    others = PERF.replace("711/", "7110/").replace("leak", "711/711 leak")
    assert perf.parse(PERF + others + PERF, 711) == {
        "runtime.main ([runtime]);main.spinAround (/srv/leak)": 2,
        "dash+0x12d0f (/usr/bin/dash);std::vector<int, std::allocator<int> >::push_back(int const&) ([runtime]);"
        "clear_page_erms ([kernel])": 2,
    }


@given(st.text() | st.text(st.sampled_from("\t \n()[]abunknown1p")))
def test_perf_garbage_is_no_fault(text: str) -> None:
    counts = perf.parse(text.replace("p", "\nx 1/1\n\t"), 1)
    assert folded.parse(folded.render(counts).splitlines()) == counts


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Error:\nAccess to performance monitoring and observability operations is limited.", "perf-refused"),
        ("perf_event_open(...) failed: Operation not permitted", "perf-refused"),
        ("WARNING: perf not found for kernel 6.8.0-31", "perf-missing"),
        ("failed to mmap with 12 (Cannot allocate memory)", "perf-failed"),
    ],
)
def test_perf_failures(said: str, reason: str) -> None:
    failure = perf.TOOL.explain(perf.last_words(said), 255, hung=False, pid=os.getpid())
    assert failure.reason == reason and failure.hint


RUBY = """\
<main> - /srv/app.rb:9;block in run - /srv/lib/job - 2.rb:31;sleep [c function] - (unknown):0 12
<main> - /srv/app.rb:9;Array#each [c function] - (unknown):0;initialize - /srv/a;b.rb:4 3
"""


def test_ruby_samples() -> None:
    assert rbspy.parse(RUBY.splitlines()[0]) == {
        "<main> (/srv/app.rb:9);block in run (/srv/lib/job - 2.rb:31);sleep [c function]": 12
    }
    assert sum(rbspy.parse(RUBY).values()) == 15
    with pytest.raises(folded.FoldedError):
        rbspy.parse("<main> - /srv/app.rb:9")
    told = rbspy.frames("<main> - /srv/app.rb:9\nkeep_rows - /srv/app.rb:3\nsleep [c function] - (unknown):0\n")
    assert [(frame["name"], frame["filename"], frame["line"]) for frame in told] == [
        ("sleep [c function]", "", 0), ("keep_rows", "/srv/app.rb", 3), ("<main>", "/srv/app.rb", 9)
    ]  # fmt: skip


def test_ruby_command_lines() -> None:
    """As rbspy's own tests have them: long options only, since short ones changed their meaning."""
    argv = rbspy.record_argv("rbspy", 42, "/proc/self/fd/5", rate_hz=99, duration_s=3, nonblocking=True)
    assert " ".join(argv) == (
        "rbspy record --pid 42 --rate 99 --duration 3 --format collapsed --silent --file /proc/self/fd/5 "
        "--raw-file /dev/null --nonblocking"
    )
    assert rbspy.snapshot_argv("rbspy", 42, nonblocking=False) == ["rbspy", "snapshot", "--pid", "42"]


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("Permission denied when reading from process. If you're not running as root, try again", "ptrace-refused"),
        ("Couldn't find ruby version", "ruby-unsupported"),
        ("Failed to initialize ruby spy", "rbspy-failed"),
    ],
)
def test_ruby_failures(cause: str, reason: str) -> None:
    said = f"Something went wrong while rbspy was sampling the process. Here's what we know:\n- {cause}\n"
    failure = rbspy.TOOL.explain(rbspy.last_words(said), 1, hung=False, pid=os.getpid())
    assert failure.reason == reason and cause[:20] in failure.said
    assert rbspy.TOOL.explain("", 0, hung=False, pid=1 << 22).reason == "target-gone"


def trace(*leaves: str) -> bytes:
    names = ["Process64 Process(7) (7) Args: ", "(Non-Activities)", "Threads", "Thread (9)",
             "App!App.Cache.Keep(int32)", "System.Private.CoreLib!System.Array.Resize(!!0[]&)", *leaves]  # fmt: skip
    events = [{"type": "O", "frame": number, "at": 0.0} for number in range(len(names))]
    events += [{"type": "C", "frame": number, "at": 12.0} for number in reversed(range(len(names)))]
    profile = {"type": "evented", "name": "Thread (9)", "unit": "milliseconds", "startValue": 0, "endValue": 12,
               "events": events}  # fmt: skip
    frames = [{"name": name} for name in names]
    return json.dumps({"$schema": "https://www.speedscope.app/file-format-schema.json", "profiles": [profile],
                       "shared": {"frames": frames}}).encode()  # fmt: skip


def test_dotnet_samples() -> None:
    assert dotnet.parse_trace(trace("CPU_TIME")) == {"App.Cache.Keep (App.dll);System.Array.Resize ([runtime])": 12}
    assert dotnet.parse_trace(trace("UNMANAGED_CODE_TIME")) == {}
    for data in (b"", b"[]", b"{}", b"{"):
        with pytest.raises(FormatError):
            dotnet.parse_trace(data)


@pytest.mark.parametrize("mark", [",", ".", "\u00a0", "\u202f", "'", ""])
def test_dotnet_types(mark: str) -> None:
    """Rows of PrintReportHelper.cs, with the locale's mark between thousands."""

    def number(value: int, width: int) -> str:
        return f"{value:,}".replace(",", mark).rjust(width)

    text = f"{number(3_145_728, 15)}  GC Heap bytes\n{number(9_000, 15)}  GC Heap objects\n\n"
    text += "   Object Bytes     Count  Type\n"
    text += f"{number(2_000_024, 15)}  {number(1_200, 8)}  App.Session[] (Bytes > 1M)  [App.dll]\n"
    text += f"{number(480, 15)}  {number(7, 8)}  System.Collections.Generic.Dictionary<System.String,System.Int32>\n"
    assert dotnet.parse_report(text) == {
        "App.Session[] (Bytes > 1M)": (1_200, 2_000_024),
        "System.Collections.Generic.Dictionary<System.String,System.Int32>": (7, 480),
    }


@given(st.text())
def test_dotnet_garbage_is_no_fault(text: str) -> None:
    for count, size in dotnet.parse_report(text).values():
        assert count >= 0 and size >= 0


def test_dotnet_command_lines() -> None:
    assert dotnet.trace_argv("dotnet-trace", 42, "/t/x.nettrace", 3700)[-6:] == [
        "--duration", "00:01:01:40", "--buffersize", "16", "--output", "/t/x.nettrace"
    ]  # fmt: skip
    assert dotnet.report_argv("dotnet-gcdump", 42) == ["dotnet-gcdump", "report", "--process-id", "42"]


def test_a_runtime_without_its_socket_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure, match="dotnet-silent"):
        dotnet.check(os.getpid())


# -- stand-ins for tools: only how they are run, and what comes of their faults ------------------------------------


def stand_in(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


ME = recorder.Subject(os.getpid())


def one_slice(engine: recorder.Engine) -> recorder.Piece:
    pace_ = pace.Pace(100, None, 1.0, (pace.Way(True, False),))
    plan = pace_.plan(1)
    return engine.record(os.getpid(), plan, 1.0, recorder.Meter(plan, pace_))


def test_rbspy_is_run_as_it_wants_to_be(tools: Path) -> None:
    stand_in(tools, "rbspy", """while [ "$1" != --file ]; do shift; done; echo '<main> - /srv/app.rb:9 4' > "$2" """)
    piece = one_slice(rbspy.Rbspy(ME))
    assert piece.counts == {"<main> (/srv/app.rb:9)": 4} and piece.engine == "rbspy"


def test_the_holder_of_rubys_lock_is_a_thread_of_its_own(tools: Path) -> None:
    """rbspy doesn't say which thread that is: the kernel's keep what they are."""
    stand_in(tools, "rbspy", "echo '<main> - /srv/app.rb:9'; echo 'keep - /srv/app.rb:3'")
    first, *others = rbspy.threads(os.getpid())
    assert [frame["name"] for frame in first["frames"]] == ["keep", "<main>"]
    assert (first["os_thread_id"], first["owns_gil"]) == (None, True)
    assert os.getpid() in [each["os_thread_id"] for each in others]
    assert not any(frame["name"] == "keep" for each in others for frame in each["frames"])


PERF_STAND_IN = """
first=$1
while [ "$1" != --output ] && [ "$1" != --input ]; do shift; done
[ $first = record ] && { echo data > $2; %s; }
[ $first = record ] || { printf 'x %d/%d\\n\\t 1f main (/srv/x)\\n\\n' $PPID $PPID; %s; }
"""


def test_perf_leaves_no_file(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(tempfile, "mkdtemp", None)
    stand_in(tools, "perf", PERF_STAND_IN.replace("%s", "exit 0"))
    assert one_slice(perf.Perf(ME)).counts == {"main (/srv/x)": 1}


def test_an_interrupted_perf_is_not_waited_for_long(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    stand_in(tools, "perf", PERF_STAND_IN.replace("%s", "exit 0", 1).replace("%s", "exec sleep 60"))
    run = runner.run

    def interrupted(argv: list[str], deadline_s: float, **more: Any) -> runner.Completed:
        done = run(argv, min(deadline_s, 3.0), **more)
        done.interrupted = argv[1] == "record"
        assert done.interrupted or deadline_s <= 2.0
        return done

    monkeypatch.setattr(runner, "run", interrupted)
    with pytest.raises(runner.Interrupted):
        one_slice(perf.Perf(ME))


def test_what_a_killed_worker_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old_s = time.time() - 2 * 3600
    names = ["guard-dotnet-old", "guard-dotnet-new", "guard-dotnet-used", "mine"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "trace.nettrace").touch()
    (tmp_path / "guard-dotnet-link").symlink_to(tmp_path / "mine")
    for path in tmp_path.iterdir():
        if path.name != "guard-dotnet-used":
            os.utime(path / "trace.nettrace", (old_s, old_s))
        if path.name != "guard-dotnet-new":
            os.utime(path, (old_s, old_s), follow_symlinks=False)
    dotnet.sweep()
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "guard-dotnet-link"])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo '- Copy error: oh' >&2; exit 1", "rbspy-failed"),
        ("kill -9 $$", "rbspy-failed"),
        ("""while [ "$1" != --file ]; do shift; done; echo 'nonsense' > "$2" """, "rbspy-garbage"),
        ("exec cat /dev/zero", "profiler-flood"),
    ],
    ids=["exit", "killed", "garbage", "flood"],
)
def test_faults_of_a_tool_are_named(tools: Path, script: str, reason: str) -> None:
    stand_in(tools, "rbspy", script)
    with pytest.raises(Failure, match=reason):
        one_slice(rbspy.Rbspy(ME))


def test_a_tool_that_hangs_is_ended(tools: Path) -> None:
    stand_in(tools, "rbspy", "exec sleep 60")
    began_s = time.monotonic()
    with pytest.raises(Failure, match="rbspy-hung"):
        one_slice(rbspy.Rbspy(ME))
    assert time.monotonic() - began_s < 20


def test_a_tool_that_is_taken_away_midway(tools: Path) -> None:
    stand_in(tools, "rbspy", "exit 0")
    engine = rbspy.Rbspy(ME)
    (tools / "rbspy").unlink()
    with pytest.raises(Failure, match="rbspy-missing"):
        one_slice(engine)


def test_a_tool_is_looked_for_where_its_installer_puts_it(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tools / "home"))
    with pytest.raises(Failure, match="dotnet-trace-missing"):
        dotnet.TRACE.find()
    folder = tools / "home" / ".dotnet" / "tools"
    folder.mkdir(parents=True)
    stand_in(folder, "dotnet-trace", "exit 0")
    assert dotnet.TRACE.find() == str(folder / "dotnet-trace")


@pytest.mark.parametrize(
    ("said", "code", "hung", "reason"),
    [
        ("", 3, True, "dotnet-trace-hung"),
        ("sh: dotnet: not found", 127, False, "dotnet-trace-missing"),
        ("oh", 1, False, "dotnet-trace-failed"),
        ("", 0, False, "dotnet-trace-failed"),
    ],
)
def test_every_failure_of_a_tool_says_something(said: str, code: int, hung: bool, reason: str) -> None:
    failure = dotnet.TRACE.explain(said, code, hung=hung, pid=os.getpid())
    assert failure.reason == reason and failure.said and failure.hint
    assert dotnet.TRACE.explain(said, code, hung=False, pid=1 << 22).reason == "target-gone"


@pytest.fixture
def its_folder(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process with a TMPDIR of its own, and the socket that a .NET would have there."""
    program = ["/bin/sh", "-c", "echo; read x"]
    environment = {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()  # it is the shell by now
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tmp_path}/dotnet-diagnostic-{process.pid}-1-socket")
            yield process.pid, tmp_path
        process.stdin.close()


def test_a_dotnets_socket_is_its_users(its_folder: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pid, folder = its_folder
    assert dotnet.check(pid) == str(folder)
    uids = stdlib.uids(f"/proc/{pid}")
    with monkeypatch.context() as patch, pytest.raises(Failure, match="dotnet-silent"):
        patch.setattr(stdlib, "uids", lambda proc: [uids[0], uids[1] + 1, *uids[2:]])
        patch.setattr(stdlib, "only_ours", lambda path: True)
        dotnet.check(pid)
    (name,) = folder.glob("dotnet-*")
    name.unlink()
    name.touch()
    with pytest.raises(Failure, match="dotnet-silent"):
        dotnet.check(pid)


def test_no_tool_is_run_in_a_folder_that_others_write_to(
    its_folder: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, folder = its_folder
    monkeypatch.setattr(stdlib, "is_own", lambda proc: False)
    folder.chmod(0o1777)
    assert stdlib.only_ours("/tmp") and dotnet.check(pid) == str(folder)
    folder.chmod(0o777)
    with pytest.raises(Failure, match="dotnet-silent") as caught:
        dotnet.check(pid)
    assert "another user's" in caught.value.said
    folder.chmod(0o700)
    monkeypatch.setattr(stdlib, "elsewhere", lambda proc: True)
    with pytest.raises(Failure, match="dotnet-silent") as caught:
        dotnet.check(pid)
    assert "another root's" in caught.value.said


def test_a_dotnet_tool_opens_no_socket_of_its_own(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    stand_in(tools, "dotnet-gcdump", 'echo "$TMPDIR $DOTNET_EnableDiagnostics"')
    assert dotnet.run(dotnet.GCDUMP, [dotnet.GCDUMP.find()], 5.0, "/srv").stdout == b"/srv 0\n"


@pytest.mark.parametrize(
    ("which", "needs_bytes", "name"), [(engine.DOTNET, 512 << 20, "dotnet-trace"), (engine.GO, 128 << 20, "perf")]
)
def test_a_tool_that_the_limit_leaves_no_room_for_is_not_started(
    tools: Path, monkeypatch: pytest.MonkeyPatch, which: str, needs_bytes: int, name: str
) -> None:
    stand_in(tools, name, "exit 0")
    monkeypatch.setattr(dotnet, "check", lambda pid: "/tmp")
    told: list[str] = []

    def first(room_bytes: int | None) -> str:
        return (
            Samplers(ways.SAMPLERS[which], recorder.Subject(os.getpid(), room_bytes=room_bytes), told.append)
            .next()
            .name
        )

    assert first(None) == first(needs_bytes) == name and not told
    assert first(needs_bytes - 1) != name
    assert told[0].startswith(f"not by {name}: ") and told[0].endswith("(no-headroom)")


def test_a_gcdump_needs_room_by_the_size_of_the_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_heap, "_rss_bytes", lambda pid: 4 << 30)
    monkeypatch.setattr(dotnet, "histogram", None)
    spec = {"action": "heap-profile", "state": "critical", "pid": os.getpid(), "name": "x", "directory": str(tmp_path),
            "headroom_bytes": 1000 << 20}  # fmt: skip
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with pytest.raises(Skip, match="no-headroom"):
            runtime_heap.of_dotnet(Task(spec))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
