"""Go, Ruby and .NET as they are, by what they tell themselves and without it; perf. Their leaks are named."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supervisor.analysis import folded
from supervisor.profilers import dotnet, engine, gopprof, perf
from supervisor.profilers.failure import Failure
from tests.integration import assembly
from tests.integration.driving import until
from tests.integration.stepping import order, tracer_of
from tests.integration.test_anylang import growth_meta, leak_until_told
from tests.integration.test_schemas import documents, faults

pytestmark = pytest.mark.integration

LEAKS = Path(__file__).parent / "leaks"
LEVELS = ["--env", "development", "--warning", "30", "--critical", "60", "--profiling", "90", "--interval", "200ms"]
QUICK = ["--profile-duration", "1s", "--overhead-budget", "50%"]


def built(name: str, *options: str) -> str:
    """The Go program, from the cache unless its source or the compiler is another: building takes some seconds."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs Go (golang-go)")
    source = LEAKS / "leak.go"
    version = subprocess.run([go, "version"], capture_output=True, check=True, timeout=30).stdout
    recipe = source.read_bytes() + version + repr(options).encode()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guard-tests"
    program = folder / f"go-{hashlib.sha256(recipe).hexdigest()[:16]}" / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_name(f"{name}.{os.getpid()}")
        environment = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
        line = [go, "build", *options, "-o", str(unfinished), str(source)]
        subprocess.run(line, env=environment, check=True, timeout=110)
        unfinished.replace(program)
    return str(program)


@pytest.fixture(scope="module")
def leak() -> str:
    return built("leak")


def test_a_go_by_what_it_tells_itself(start: Callable[..., Any], leak: str) -> None:
    """Heap, goroutines and CPU from the port that it listens on; growth names the function as well."""
    run = start([*LEVELS, *QUICK, "--go-pprof", "auto"], [leak, "leak", "serve"], stdin=subprocess.PIPE)
    assert run.process.stdout.readline().startswith(b"127.0.0.1:")
    order(run, "more")
    order(run, "more")
    heap = run.wait_for("action.finished", action="heap-profile")
    leak_until_told(run, "native" if _stops() else "")
    assert (heap["engine"], heap["top"][0]["function"]) == ("pprof", "main.rememberForever"), heap
    assert heap["top"][0]["file"].endswith("leak.go") and heap["top"][0]["share"] > 0.8
    (profile,) = run.evidence("*-heap-profile.folded")
    first = folded.own_functions(folded.parse(profile.read_text().splitlines()))[0]
    assert first.function == "main.rememberForever"
    stacks = run.wait_for("action.finished", action="stacks")
    told = json.loads(Path(stacks["path"]).read_text())
    assert stacks["engine"] == "pprof" and told["goroutines"]["count"] > 20
    most = told["goroutines"]["groups"][0]
    assert (most["count"], most["state"]) == (20, "chan receive") and most["place"].startswith("main.waitForever (")
    (meta,) = [json.loads(path.read_text()) for path in run.evidence("*-cpu-profile.meta.json")]
    assert meta["engine"] == "pprof" and meta["used_rate_hz"] == 100
    if _stops():
        suspect = run.record["suspect"]
        assert (suspect["function"], suspect["mapping"]) == ("main.rememberForever", "Go heap"), suspect
    assert [fault for one in documents(run.profiles) for fault in faults(*one)] == []


def _stops() -> bool:
    """Whether threads may be stopped at what takes memory here."""
    from tests.integration.test_anylang import _traces

    return _traces()


@pytest.mark.parametrize("options", [(), ("-ldflags=-s -w",)], ids=["plain", "stripped"])
def test_a_go_that_tells_nothing(start: Callable[..., Any], options: tuple[str, ...]) -> None:
    """By guard's own unwinder; a stripped one has no names there, but its memory is known for Go's."""
    run = start([*LEVELS[:4], "--interval", "200ms"], [built("leak", *options), "leak"], stdin=subprocess.PIPE)
    order(run, "more")
    leak_until_told(run, "native" if _stops() else "")
    suspect = run.record["suspect"]
    assert suspect["mapping"] == "Go heap" and suspect["name"] == "leak", run.noise
    if _stops() and not options:
        assert suspect["function"] == "main.rememberForever"


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process that has said its first line."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


def cpu_profile(run_guard: Callable[..., Any], folder: Path, pid: int, *more: str) -> tuple[dict[str, float], Any]:
    """Shares by function, and the meta."""
    place = ["--profiles-dir", str(folder / "profiles"), "--duration", "1s", "--overhead-budget", "50%"]
    done = run_guard("profile", "--cpu", *place, *more, "--pid", str(pid))
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("profiles/*/*/*.folded")
    counts = folded.parse(path.read_text().splitlines())
    shares = {each.function: each.total_weight / sum(counts.values()) for each in folded.by_function(counts)}
    return shares, json.loads(path.with_suffix(".meta.json").read_text())


def _perf() -> bool:
    """Whether perf is there and may sample."""
    if shutil.which("perf") is None:
        return False
    done = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-o", os.devnull, "true"], capture_output=True)
    return done.returncode == 0


def test_the_busy_function_of_a_go(run_guard: Callable[..., Any], leak: str, tmp_path: Path) -> None:
    """By perf where it may, which stops nobody, else by guard's own unwinder."""
    if not (_perf() or _stops()):
        pytest.skip("nobody may look at it here")
    with running([leak, "spin"]) as (process, _):
        assert engine.of(process.pid) == engine.GO
        shares, meta = cpu_profile(run_guard, tmp_path, process.pid)
        assert tracer_of(process.pid) == 0
    assert shares["main.spinAround"] > 0.7, shares
    assert meta["engine"] == ("perf" if _perf() else "native stacks"), meta
    assert meta["nonblocking"] is _perf()


def test_a_go_that_profiles_itself_already(run_guard: Callable[..., Any], leak: str, tmp_path: Path) -> None:
    """Its own profiler has one user; then it is sampled from outside, and the meta tells why."""
    if not (_perf() or _stops()):
        pytest.skip("nobody may look at it here")
    with running([leak, "spin", "serve"]) as (process, address):
        place, _, port = address.rpartition(":")
        with socket.create_connection((place, int(port))) as other:
            other.sendall(b"GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n")
            _until_profiled(process.pid)
            shares, meta = cpu_profile(run_guard, tmp_path, process.pid, "--go-pprof", f"http://{address}")
    assert shares["main.spinAround"] > 0.5 and meta["engine"] in ("perf", "native stacks")
    assert "already in use" in meta["rate_reason"], meta


def _until_profiled(pid: int) -> None:
    """Until its own profiler's timer runs, which each of its threads has."""
    until(lambda: "profileWriter" in _goroutines(pid), "its profile did not begin")


def _goroutines(pid: int) -> str:
    return gopprof.find(pid, "auto").fetch("goroutine?debug=2").decode()


def test_the_doctor_of_a_go(run_guard: Callable[..., Any], leak: str, tmp_path: Path) -> None:
    """What is there, and what to install, by what the process is."""
    with running([leak, "leak", "serve"]) as (process, address):
        done = run_guard("doctor", "--json", "--pid", str(process.pid), cwd=tmp_path)
        found = {each["name"]: each for each in json.loads(done.stdout)["capabilities"]}
    assert found["Go's pprof"]["status"] == "works" and address.rpartition(":")[2] in found["Go's pprof"]["detail"]
    assert found["perf"]["status"] == ("works" if _perf() else "refused"), found["perf"]
    assert found["rbspy"]["status"] in ("absent", "works") and "Ruby" in found["rbspy"]["detail"]
    assert found["dotnet-trace"]["status"] in ("absent", "works")


def test_perf_of_machine_code(leaky_busy: str) -> None:
    """Beside guard's unwinder, for what that can't: here of a program with frame pointers."""
    if not _perf():
        pytest.skip("needs perf, and a kernel that lets it")
    from supervisor.profilers import pace, recorder

    with running([leaky_busy]) as (process, _):
        paces = pace.Pace(200, None, 1.0, (pace.Way(True, False),))
        plan = paces.plan(1)
        piece = perf.Perf(recorder.Subject(process.pid)).record(process.pid, plan, 1.0, recorder.Meter(plan, paces))
    busy = folded.by_function(piece.counts)[0]
    assert busy.function == "hash_rows" and piece.samples > 20, piece.counts
    assert any("main" in stack and "hash_rows" in stack for stack in piece.counts)


@pytest.fixture(scope="module")
def leaky_busy(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    from tests.integration.test_anylang import BUSY

    folder = tmp_path_factory.mktemp("busy")
    (folder / "busy.c").write_text(BUSY)
    options = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(["cc", *options, "-o", "busy", "busy.c"], cwd=folder, check=True, timeout=60)
    return str(folder / "busy")


def test_a_ruby_without_rbspy(start: Callable[..., Any]) -> None:
    """Where its memory lies, the C of its interpreter, and what would tell more."""
    if shutil.which("ruby") is None:
        pytest.skip("needs Ruby")
    if shutil.which("rbspy") is not None:
        pytest.skip("there is an rbspy here")
    run = start([*LEVELS, *QUICK], ["ruby", "--disable-gems", str(LEAKS / "leak.rb")], stdin=subprocess.PIPE)
    assert run.process.stdout.readline() == b"ready\n"
    order(run, "more")
    leak_until_told(run)
    missing = run.wait_for("capability.missing", capability="rbspy")
    assert "rbspy" in missing["hint"]
    metas = [json.loads(path.read_text()) for path in run.evidence("*-stacks.meta.json")]
    # Of one that is at its end less is known.
    assert any("rbspy-missing" in (meta["last_error"] or "") for meta in metas), metas
    assert growth_meta(run)["mappings"][0]["gained_bytes"] > 40 << 20
    suspect = run.record["suspect"]
    assert suspect["name"] == "ruby" and "function" not in suspect, suspect  # of its interpreter nobody wants to hear
    assert suspect["mapping"] == growth_meta(run)["mappings"][0]["name"]
    (told,) = [path.read_text() for path in run.evidence("*-growth.md")]
    assert told.split("\n\n")[1].endswith(f" of the growth is in `{suspect['mapping']}`."), told


def test_a_ruby_by_rbspy(start: Callable[..., Any], tmp_path: Path) -> None:
    """A stand-in, for rbspy can't be had here: only that it is asked, and what it says is taken in."""
    if shutil.which("ruby") is None:
        pytest.skip("needs Ruby")
    stand_in = tmp_path / "bin" / "rbspy"
    stand_in.parent.mkdir()
    stand_in.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "snapshot) printf '<main> - /srv/leak.rb:9\\nkeep_rows - /srv/leak.rb:4\\n' ;;\n"
        'record) while [ "$1" != --file ]; do shift; done\n'
        'echo "<main> - /srv/leak.rb:9;spin - /srv/leak.rb:2 90" > "$2" ;;\n'
        "esac\n"
    )
    stand_in.chmod(0o755)
    path = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    run = start([*LEVELS, *QUICK], ["ruby", "--disable-gems", str(LEAKS / "leak.rb")], stdin=subprocess.PIPE, env=path)
    assert run.process.stdout.readline() == b"ready\n"
    order(run, "more")
    order(run, "more")
    done = run.wait_for("action.finished", action="stacks")
    assert done["engine"] == "rbspy"
    told = json.loads(Path(done["path"]).read_text())
    assert told["threads"][0]["frames"][0]["name"] == "keep_rows"
    profile = run.wait_for("action.finished", action="cpu-profile")
    assert profile["top"][0]["function"] == "spin"
    run.process.stdin.close()
    assert run.end() == 0
    assert [fault for one in documents(run.profiles) for fault in faults(*one)] == []


@contextmanager
def dotnet_spin(folder: Path, **environment: str) -> Iterator[int]:
    """A real .NET runtime that goes round in one method, up to its end."""
    found = importlib.util.find_spec("dotnetcore2")
    if found is None or found.origin is None:
        pytest.skip("needs a .NET runtime (PyPI: dotnetcore2)")
    program = Path(found.origin).parent / "bin" / "dotnet"
    program.chmod(0o755)
    path = assembly.write(folder)
    invariant = {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", "TMPDIR": str(folder), **environment}
    with subprocess.Popen([program, path], env={**os.environ, **invariant}) as process:
        try:
            until(lambda: engine.of(process.pid) == engine.DOTNET, "no CLR was seen in it")
            yield process.pid
        finally:
            process.kill()


def test_a_dotnet_without_its_tools(run_guard: Callable[..., Any], tmp_path: Path) -> None:
    """Told by its CLR; sampled as machine code, and what would tell more is named."""
    if not _stops() or shutil.which("dotnet-trace") is not None:
        pytest.skip("nobody may look at it here, or its tools are there")
    with dotnet_spin(tmp_path) as pid:
        until(lambda: _listens(pid), "it did not open its diagnostics")
        assert dotnet.check(pid) == str(tmp_path)
        shares, meta = cpu_profile(run_guard, tmp_path, pid, "--mode", "dev")
    assert meta["engine"] == "native stacks" and "dotnet-trace-missing" in meta["rate_reason"], meta
    assert shares["(code without a file)"] > 0.5 and any("RunMain" in name for name in shares), shares


def _listens(pid: int) -> bool:
    try:
        return bool(dotnet.check(pid))
    except Failure:
        return False


def test_the_heap_of_a_dotnet(run_guard: Callable[..., Any], tmp_path: Path) -> None:
    """By a stand-in for dotnet-gcdump, which can't be had here: how it is run, and that its table is taken in."""
    stand_in = tmp_path / "bin" / "dotnet-gcdump"
    stand_in.parent.mkdir()
    stand_in.write_text(
        '#!/bin/sh\necho "$* $TMPDIR" > "$0.asked"\n'
        "printf '      3,145,728  GC Heap bytes\\n          9,000  GC Heap objects\\n\\n'\n"
        "printf '   Object Bytes     Count  Type\\n'\n"
        "printf '      2,000,024     1,200  App.Session[] (Bytes > 1M)  [App.dll]\\n'\n"
    )
    stand_in.chmod(0o755)
    place = ["--profiles-dir", str(tmp_path / "profiles")]
    path = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    with dotnet_spin(tmp_path) as pid:
        until(lambda: _listens(pid), "it did not open its diagnostics")
        done = run_guard("profile", "--heap", *place, "--pid", str(pid), env=path)
        assert done.returncode == 0, done.stderr
        assert Path(f"{stand_in}.asked").read_text().split() == ["report", "--process-id", str(pid), str(tmp_path)]
    (meta,) = tmp_path.glob("profiles/*/*/*heap-profile.meta.json")
    told = json.loads(meta.read_text())
    assert (told["engine"], told["samples"], told["bytes"]) == ("dotnet-gcdump", 1200, 2_000_024)
    assert "App.Session" in meta.with_name(meta.name.replace(".meta.json", ".md")).read_text()
    assert [fault for one in documents(tmp_path / "profiles") for fault in faults(*one)] == []


def test_a_dotnet_whose_diagnostics_are_off_is_not_waited_for(tmp_path: Path) -> None:
    off = {"DOTNET_EnableDiagnostics": "0", "COMPlus_EnableDiagnostics": "0"}  # as it is now, and before .NET 6
    with dotnet_spin(tmp_path, **off) as pid, pytest.raises(Failure, match="dotnet-silent"):
        dotnet.check(pid)
