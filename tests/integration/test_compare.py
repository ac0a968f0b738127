"""`guard compare` from outside: exit codes, reports, CI."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
Guard = Callable[..., "subprocess.CompletedProcess[bytes]"]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "profiles"
CLEAN = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith(("GUARD_", "MEMORY_", "GITHUB_", "GITLAB_")) and key not in ("CI", "JENKINS_URL")
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a baseline and a newer profile in which `render` takes twice as long."""
    names = ["render", "parse", "load", "save", "log", "sort"]
    for file, factor in (("baseline", 1), ("current", 2)):
        lines = [
            f"main (app.py:1);{name} (app.py:{n + 3}) {5000 * (factor if n == 0 else 1)}\n"
            for n, name in enumerate(names)
        ]
        path = tmp_path / "profiles" / f"{file}.folded"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines))
        (tmp_path / "profiles" / f"{file}.meta.json").write_text(json.dumps({"used_rate_hz": 100, "whole": True}))
    (tmp_path / "app.py").write_text("\n" * 9)
    return tmp_path


def compared(run_guard: Guard, place: Path, *options: str, env: dict[str, str] | None = None) -> Any:
    sides = ["--baseline", "profiles/baseline.folded", "--current", "profiles/current.folded"]
    return run_guard("compare", *sides, *options, cwd=place, env=CLEAN | (env or {}))


def test_a_regression_and_its_limit(run_guard: Guard, place: Path) -> None:
    done = compared(run_guard, place)
    text = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    assert text.startswith("# Performance comparison") and "| +100.0 % self | +50.0 s |" in text
    assert text.splitlines()[-1].startswith("guard compare: ❌ regression; slower: render +100.0 % (+50.0 s)")
    for limit, code in (("5%", 1), ("99", 1), ("101%", 0)):
        assert compared(run_guard, place, "--fail-on", limit).returncode == code


def test_library_frames_that_one_side_lacks_are_no_change(run_guard: Guard, place: Path) -> None:
    library = "/usr/lib/python3.11/json/decoder.py"
    (place / "profiles/baseline.folded").write_text(
        f"main (app.py:1);parse (app.py:3);decode ({library}:9) 5000\nmain (app.py:1);render (app.py:5) 5000\n"
    )
    (place / "profiles/current.folded").write_text(
        "main (app.py:1);parse (app.py:3) 5000\nmain (app.py:1);render (app.py:5) 5000\n"
    )
    for side, kept in (("baseline", True), ("current", False)):
        facts = {"used_rate_hz": 100, "whole": True, "library_frames": kept}
        (place / f"profiles/{side}.meta.json").write_text(json.dumps(facts))
    text = compared(run_guard, place).stdout.decode()
    assert "No detectable change" in text and "decode" not in text
    assert "Where only some profiles had no library frames, the others' were folded as well." in text
    os.unlink(place / "profiles/current.meta.json")
    assert "decode" in compared(run_guard, place).stdout.decode()


@pytest.mark.parametrize(("name", "start"), [("r.md", "# Performance"), ("r.html", "<!DOCTYPE html>"), ("r.json", "{")])
def test_reports(run_guard: Guard, place: Path, name: str, start: str) -> None:
    done = compared(run_guard, place, "--output", f"reports/{name}")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1  # the rest is in the report
    path = place / "reports" / name
    assert path.read_text().startswith(start)
    assert path.stat().st_mode & 0o777 == 0o600
    if name == "r.html":
        assert path.read_text().count("<svg") == 2


def test_a_baseline_in_markdown_takes_its_stacks_from_its_run(run_guard: Guard, place: Path) -> None:
    done = run_guard("profile", "--demo", "--cpu", "--output", "profiles/baseline.md", cwd=place, env=CLEAN)
    assert done.returncode == 0, done.stderr
    (place / "kept").mkdir()
    (place / "kept/1.md").write_bytes((place / "profiles/baseline.md").read_bytes())
    for baseline in ("profiles/baseline.md", "kept/1.md"):
        options = ["--baseline", baseline, "--current", "latest", "--output", "r.html"]
        assert run_guard("compare", *options, cwd=place, env=CLEAN).returncode == 0
        assert (place / "r.html").read_text().count("<svg") == 2
        os.unlink(place / "r.html")


def test_json(run_guard: Guard, place: Path) -> None:
    done = compared(run_guard, place, "--json", "--fail-on", "7%", env={"GITHUB_ACTIONS": "true"})
    document = json.loads(done.stdout)
    assert done.returncode == 1 and document["failed"] is True and document["fail_on_percent"] == 7
    assert document["functions"][0]["function"] == "render" and document["score"] == pytest.approx(85.71)
    assert b"::error" in done.stderr


def test_github_gets_a_summary_and_annotations(run_guard: Guard, place: Path) -> None:
    env = {
        "GITHUB_ACTIONS": "true",
        "CI": "true",
        "GITHUB_STEP_SUMMARY": str(place / "summary"),
        "GITHUB_WORKSPACE": str(place),
    }
    done = compared(run_guard, place, env=env)
    lines = done.stdout.decode().splitlines()
    assert (place / "summary").read_text().startswith("# Performance comparison")
    assert "::warning file=app.py,line=3,title=Performance regression::render takes +50.0 s more" in lines[0]
    assert lines[-1].startswith("guard compare (GitHub Actions): ❌ regression")
    done = compared(run_guard, place, "--fail-on", "5%", env=env)
    assert done.returncode == 1 and done.stdout.startswith(b"::error file=app.py,line=3,")


def test_other_systems_are_named(run_guard: Guard, place: Path) -> None:
    assert b"guard compare (GitLab CI): " in compared(run_guard, place, env={"GITLAB_CI": "true"}).stdout


def test_the_defaults_are_the_baseline_and_the_newest(run_guard: Guard, place: Path) -> None:
    done = run_guard("compare", cwd=place, env=CLEAN)
    assert done.returncode == 2 and b"there is no baseline" in done.stderr and b"guard profile --output" in done.stderr
    baseline = place / "profiles" / "baseline.md"
    baseline.write_bytes((FIXTURES / "bun.md").read_bytes())
    os.utime(place / "profiles" / "current.folded", (1, 1))
    done = run_guard("compare", "--json", cwd=place, env=CLEAN)
    document = json.loads(done.stdout)
    assert [each["path"].endswith("profiles/baseline.md") for each in document["baseline"]] == [True]
    assert [each["path"].endswith("profiles/current.folded") for each in document["current"]] == [True]


def test_profiles_without_an_option_are_the_baseline_and_the_current_one(run_guard: Guard, place: Path) -> None:
    sides = ("profiles/baseline.folded", "profiles/current.folded")
    assert run_guard("compare", *sides, cwd=place, env=CLEAN).stdout == compared(run_guard, place).stdout
    (place / "profiles" / "baseline.md").write_bytes((FIXTURES / "bun.md").read_bytes())
    document = json.loads(run_guard("compare", "--json", sides[0], cwd=place, env=CLEAN).stdout)
    assert [os.path.basename(document[side][0]["path"]) for side in ("baseline", "current")] == [
        "baseline.md",
        "baseline.folded",
    ]


def test_real_formats_against_each_other(run_guard: Guard, place: Path) -> None:
    done = run_guard(
        "compare", "--baseline", FIXTURES / "pyspy.speedscope.json", "--current", FIXTURES / "pyspy.raw.txt", "--json",
        cwd=place, env=CLEAN,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert document["per"] == "share" and document["verdict"] == "no detectable change"
    assert {row["function"] for row in document["functions"]} >= {"parse", "render", "serve", "main"}
    assert all(row["verdict"] == "no detectable change" for row in document["functions"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--baseline", "nothing"], b"there is no profile nothing"),
        (["--current", "app.py"], b"white space"),
        (["--fail-on", "many"], b"it takes a percentage"),
        (["--per", "week"], b"it takes auto, run, second, share"),
        (["--output", "report.pdf"], b"its end names no format"),
        (["--output", "app.py/x.md"], b"can't be written"),
        (["--per", "second"], b"how long was recorded"),
        (["--nope"], b"No such option"),
        (["latest"], b"can't go together with --baseline"),
    ],
)
def test_bad_input_is_explained(run_guard: Guard, place: Path, options: list[str], words: bytes) -> None:
    done = compared(run_guard, place, *options)
    assert done.returncode == 2
    assert words in done.stderr and b"Traceback" not in done.stderr


def test_a_closed_pipe_and_a_name_that_is_no_text(run_guard: Guard, place: Path) -> None:
    odd = os.fsencode(place) + b"/profiles/\xff.folded"
    with open(odd, "wb") as file:
        file.write((place / "profiles" / "current.folded").read_bytes())
    done = run_guard("compare", "--baseline", "profiles/baseline.folded", "--current", odd, cwd=place, env=CLEAN)
    assert done.returncode == 0
    read, write = os.pipe()
    os.close(read)
    process = subprocess.Popen(
        [*done.args[:3], "compare", "--baseline", odd, "--current", odd],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=place,
    )
    os.close(write)
    assert b"Traceback" not in process.communicate(timeout=60)[1]


def test_an_outcome_that_can_not_be_told_is_no_regression(run_guard: Guard, place: Path) -> None:
    done = compared(run_guard, place, "--fail-on", "5%")
    assert done.returncode == 1
    words = [*done.args[:3], "compare", "--baseline", "profiles/baseline.folded", "--current"]
    same, slower = [*words, "profiles/baseline.folded"], [*words, "profiles/current.folded", "--fail-on", "5%"]
    for line in (same, slower, [*same, "--json"]):
        with open("/dev/full", "wb") as full:
            full_disk = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, cwd=place, env=CLEAN, timeout=60)
        assert full_disk.returncode == 125
        assert full_disk.stderr == b"guard: the outcome can't be written to stdout: No space left on device\n"
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *same], stderr=subprocess.PIPE, cwd=place, env=CLEAN, timeout=60, check=False
    )
    assert closed.returncode == 125 and len(closed.stderr.splitlines()) == 1
    for line, code in ((same, 0), (slower, 1)):  # a reader that has gone: the verdict stands
        read, write = os.pipe()
        os.close(read)
        gone = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, cwd=place, env=CLEAN, timeout=60)
        os.close(write)
        assert (gone.returncode, gone.stderr) == (code, b"")


def heap(place: Path, name: str, kept: int) -> None:
    """What `guard profile --heap` leaves of a Python, as far as comparing goes."""
    (place / f"{name}.folded").write_text(f"Cart.rows;bytearray {kept}\nCart.names;str 4000000\n")
    facts = {"kind": "heap-profile", "used_rate_hz": None, "samples": 20_000}
    (place / f"{name}.meta.json").write_text(json.dumps(facts))
    (place / f"{name}.census.json").write_text(json.dumps({"schema_version": 1, "pid": 7, "census": {}}))
    (place / f"{name}.memray").write_bytes(b"memray\0\x0c\0\0\0")


def test_heap_profiles(run_guard: Guard, place: Path) -> None:
    """Bytes are larger, not slower; a census and a memray recording are known by the stacks beside them."""
    heap(place, "before", 5_000_000)
    heap(place, "after", 90_000_000)
    for suffix in (".folded", ".census.json", ".memray"):
        sides = ["--baseline", f"before{suffix}", "--current", f"after{suffix}"]
        done = run_guard("compare", *sides, cwd=place, env=CLEAN)
        last = done.stdout.decode().splitlines()[-1]
        assert done.returncode == 0 and last.startswith("guard compare: ❌ regression; larger: bytearray"), done
        assert "bytes per run" in done.stdout.decode()
    (place / "after.folded").unlink()
    done = run_guard("compare", "--baseline", "before.folded", "--current", "after.memray", cwd=place, env=CLEAN)
    assert done.returncode == 2 and b"memray flamegraph" in done.stderr


def test_a_heap_profile_and_a_cpu_profile_have_nothing_in_common(run_guard: Guard, place: Path) -> None:
    heap(place, "after", 90_000_000)
    sides = ["--baseline", "profiles/baseline.folded", "--current", "after.folded"]
    done = run_guard("compare", *sides, cwd=place, env=CLEAN)
    assert done.returncode == 2
    assert b"which weigh bytes" in done.stderr and b"two heap profiles" in done.stderr
