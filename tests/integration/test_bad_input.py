"""Bad input and bad places.

What is wrong before the start stops guard with 2 and words that help, and nothing runs. What only concerns guard's
own business (evidence, names it doesn't know) is an event, and the target runs as ever.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
GUARD = [sys.executable, "-IS", str(ROOT / "bin" / "guard")]
PATIENCE_S = 60.0


def run(
    folder: Path, *options: str, env: dict[Any, Any] | None = None, command: list[str] | None = None,
    before: list[str] | None = None, **popen: Any,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """`guard run` in the folder with a target that leaves the file `ran` and ends with 7."""
    command = command or ["sh", "-c", f": >'{folder}/ran'; exit 7"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "MEMORY_"))}
    line = [*(before or []), *GUARD, "run", *options, "--", *command]
    return subprocess.run(line, cwd=folder, env={**clean, **(env or {})}, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=PATIENCE_S, check=False, start_new_session=True,
                          **popen)  # fmt: skip


def refused(folder: Path, result: subprocess.CompletedProcess[bytes], *words: str) -> None:
    said = result.stderr.decode(errors="replace")
    assert result.returncode == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    assert not (folder / "ran").exists()
    assert not (folder / "profiles").exists()


def events(result: subprocess.CompletedProcess[bytes], name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in result.stderr.splitlines() if line.startswith(b"{")]
    return [event for event in found if event["event"] == name]


def ran(folder: Path, result: subprocess.CompletedProcess[bytes]) -> None:
    assert result.returncode == 7, result.stderr
    assert (folder / "ran").exists()
    assert b"Traceback" not in result.stderr


# -- values ---------------------------------------------------------------------------------------------------------

BAD_SIZES = [
    "-1",
    "0",
    "",
    "nan",
    "∞",
    "inf",
    "1e999",
    "1e3",
    "1_000",
    "0x10",
    "٣٢",
    "5 XB",
    "%",
    "101%",
    "0%",
    "-5%",
    "1.2.3",
]


@pytest.mark.parametrize("text", BAD_SIZES)
def test_bad_thresholds(tmp_path: Path, text: str) -> None:
    """On the command line and in a variable, with the same words for what is accepted."""
    refused(tmp_path, run(tmp_path, f"--warning={text}"), "--warning", "such as 512 (MB), 512MB or 1.5GiB")
    variable = run(tmp_path, env={"MEMORY_WARNING_THRESHOLD": text})
    refused(tmp_path, variable, f"MEMORY_WARNING_THRESHOLD={text!r} in the environment", "such as 512 (MB)")


def test_a_negative_value_behind_a_space(tmp_path: Path) -> None:
    refused(tmp_path, run(tmp_path, "--warning", "-1"), "--warning")


def test_a_bad_value_is_shown_short_and_without_control_characters(tmp_path: Path) -> None:
    result = run(tmp_path, env={"GUARD_INTERVAL": "\x1b[2J" + "9" * 5000})
    refused(tmp_path, result, "GUARD_INTERVAL", "500ms")
    assert b"\x1b" not in result.stderr and len(result.stderr) < 600


def test_a_value_that_is_not_utf_8(tmp_path: Path) -> None:
    refused(tmp_path, run(tmp_path, env={b"GUARD_INTERVAL": b"\xff\xfe"}), "GUARD_INTERVAL", "500ms")


@pytest.mark.parametrize("text", ["0", "0s", "-5", "5 parsecs", "99999d"])
def test_bad_intervals(tmp_path: Path, text: str) -> None:
    refused(tmp_path, run(tmp_path, f"--interval={text}"), "--interval", "such as 5s, 500ms")
    refused(tmp_path, run(tmp_path, env={"MEMORY_CHECK_INTERVAL": text}), "MEMORY_CHECK_INTERVAL", "such as 5s")


def test_thresholds_that_fall(tmp_path: Path) -> None:
    for options in (["--warning", "400MB", "--critical", "300MB"], ["--critical", "80%", "--profiling", "80%"],
                    ["--warning", "85%", "--profiling", "80%"], ["--warning", "80%", "--critical", "80"]):  # fmt: skip
        refused(tmp_path, run(tmp_path, *options), "thresholds must rise", options[0], "try: --warning 60%")


def test_thresholds_above_the_limit(tmp_path: Path) -> None:
    refused(tmp_path, run(tmp_path, "--profiling", "900TB"), "profiling", "the limit is", "try: --profiling 80%")
    refused(tmp_path, run(tmp_path, "--warning", "100%"), "warning", "the limit is")


def test_80_is_megabytes_and_80_percent_is_of_the_limit(tmp_path: Path) -> None:
    result = run(tmp_path, "--warning", "80", "--critical", "80%", "--profiling", "90%")
    ran(tmp_path, result)
    (started,) = events(result, "run.started")
    sizes = [started["thresholds"][name]["bytes"] for name in ("warning", "critical", "profiling")]
    limit = started["limit_bytes"]
    assert sizes == [80_000_000, int(limit * 0.8), int(limit * 0.9)]


def test_fractions_of_units(tmp_path: Path) -> None:
    result = run(tmp_path, "--warning", "1.5MB", "--critical", "1.5MiB", "--profiling", "0.1GB")
    (started,) = events(result, "run.started")
    sizes = [started["thresholds"][name]["bytes"] for name in ("warning", "critical", "profiling")]
    assert sizes == [1_500_000, 1_572_864, 100_000_000]


# -- names ----------------------------------------------------------------------------------------------------------


def test_an_unknown_variable_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / ".env.profiling").write_text("GUARD_PROFILE_DIR=/x\n")
    result = run(tmp_path, env={"GUARD_INTERVALL": "1s", "GUARD_ZZZ_QQQ_WWW": "1"})
    ran(tmp_path, result)
    found = {event["variable"]: event["nearest"] for event in events(result, "config.unknown")}
    assert found["GUARD_INTERVALL"] == "GUARD_INTERVAL"
    assert found["GUARD_PROFILE_DIR"] == "GUARD_PROFILES_DIR"
    assert found["GUARD_ZZZ_QQQ_WWW"] is None


def test_what_kubernetes_injects_is_no_setting(tmp_path: Path) -> None:
    injected = {
        "GUARD_PORT": "tcp://10.0.0.1:80", "GUARD_SERVICE_HOST": "10.0.0.1", "GUARD_SERVICE_PORT": "80",
        "GUARD_PORT_80_TCP": "tcp://10.0.0.1:80", "GUARD_PORT_80_TCP_ADDR": "10.0.0.1",
        "GUARD_PORT_80_TCP_PROTO": "tcp",
    }  # fmt: skip
    result = run(tmp_path, env=injected)
    ran(tmp_path, result)
    assert events(result, "config.unknown") == []


# -- the env file ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["default", "named"])
def env_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """The file's path and the options that make guard read it."""
    if request.param == "default":
        return tmp_path / ".env.profiling", []
    return tmp_path / "settings", ["--env-file", "settings"]


def test_bom_and_line_ends_of_other_systems(tmp_path: Path, env_file: tuple[Path, list[str]]) -> None:
    path, options = env_file
    path.write_bytes(b"\xef\xbb\xbfexport MEMORY_CHECK_INTERVAL=1500\r\n# note\r\nGUARD_COOLDOWN='3s'\r\n")
    result = run(tmp_path, *options)
    ran(tmp_path, result)
    assert events(result, "run.started")[0]["interval_s"] == 1.5
    assert events(result, "config.unknown") == []


BAD_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "NUL": (b"A=1\nMEMORY_CHECK_INTERVAL=1\x0000\n", ("NUL",)),
    "not UTF-8": (b"A=1\nB=\xff\n", ("line 2", "UTF-8")),
    "a command": (b"A=1\ntouch ran\n", ("line 2", "not an assignment")),
    "open quote": (b"A='1\n", ("line 1", "never closed")),
    "bad value": (b"\n\nMEMORY_CHECK_INTERVAL=soon\n", ("MEMORY_CHECK_INTERVAL='soon'", "line 3", "500ms")),
    "substitution": (b"MEMORY_CHECK_INTERVAL=$(touch ran)\n", ("line 1", "without a shell")),
    "backquotes": (b"MEMORY_CHECK_INTERVAL=`touch ran`\n", ("line 1", "without a shell")),
    "in quotes": (b'MEMORY_CHECK_INTERVAL="$(touch ran)"\n', ("line 1", "without a shell")),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(tmp_path: Path, env_file: tuple[Path, list[str]], kind: str) -> None:
    path, options = env_file
    data, words = BAD_FILES[kind]
    path.write_bytes(data)
    refused(tmp_path, run(tmp_path, *options), path.name, *words)


def test_a_line_of_100_mb(tmp_path: Path, env_file: tuple[Path, list[str]]) -> None:
    path, options = env_file
    with path.open("wb") as file:
        file.write(b"A=")
        file.truncate(100 << 20)
    result = run(tmp_path, *options)
    refused(tmp_path, result, path.name, "1 MiB", "try:")
    assert len(result.stderr) < 1000


def test_a_directory_in_its_place(tmp_path: Path, env_file: tuple[Path, list[str]]) -> None:
    path, options = env_file
    path.mkdir()
    refused(tmp_path, run(tmp_path, *options), path.name, "is a directory", "try:")


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path, env_file: tuple[Path, list[str]]) -> None:
    path, options = env_file
    os.mkfifo(path)
    ran(tmp_path, run(tmp_path, *options))


def test_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path, run(tmp_path, "--env-file", "absent"), "absent", "no such file", "try:")
    refused(tmp_path, run(tmp_path, env={"GUARD_ENV_FILE": "absent"}), "absent", "no such file")


def test_nothing_of_the_file_is_executed_or_exported(tmp_path: Path, env_file: tuple[Path, list[str]]) -> None:
    path, options = env_file
    path.write_text("OTHER=$(touch made)\nMORE=`touch made`\nPATH=/nowhere\nMEMORY_CHECK_INTERVAL=900\n")
    bare = subprocess.run(["sh", "-c", 'echo "$PATH:$OTHER:$MEMORY_CHECK_INTERVAL"'], capture_output=True).stdout
    result = run(tmp_path, *options, command=["sh", "-c", 'echo "$PATH:$OTHER:$MEMORY_CHECK_INTERVAL"'])
    assert (result.returncode, result.stdout) == (0, bare)
    assert not (tmp_path / "made").exists()


# -- the profiles directory -----------------------------------------------------------------------------------------


def _file(place: Path) -> None:
    place.write_text("mine")


def _link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to("elsewhere")


def _dangling(place: Path) -> None:
    place.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_file, _link, _dangling])
def test_a_profiles_directory_that_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The temporary directory takes its place, and guard says so."""
    make(tmp_path / "profiles")
    result = run(tmp_path, env={"TMPDIR": str(tmp_path / "temporary")})
    ran(tmp_path, result)
    instead = tmp_path / "temporary" / f"guard-{os.getuid()}" / "profiles"
    (moved,) = [event for event in events(result, "config.adjusted") if event["setting"] == "profiles-dir"]
    assert moved["from"] == str(tmp_path / "profiles") and moved["to"] == str(instead)
    assert str(tmp_path / "profiles") in moved["reason"] and moved["level"] == "warning"
    (record,) = instead.glob("monitored/*/run.json")
    assert json.loads(record.read_text())["code"] == 7
    if make is _file:
        assert (tmp_path / "profiles").read_text() == "mine"
    elif make is _link:
        assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_place_at_all_leaves_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(tmp_path, "--profiles-dir", "file/below", env={"TMPDIR": str(tmp_path / "file")})
    ran(tmp_path, result)
    moved = [event for event in events(result, "config.adjusted") if event["setting"] == "profiles-dir"]
    assert moved and all(event["to"] == "log only" for event in moved)
    assert events(result, "run.exited")[0]["code"] == 7


def test_missing_parents_are_made_private(tmp_path: Path) -> None:
    ran(tmp_path, run(tmp_path, "--profiles-dir", "a/b/c"))
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    (path,) = (tmp_path / "a/b/c").glob("monitored/*/run.json")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_profiles_directory_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir(mode=0o555)
    before = None
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is absent: root may write everywhere")
        before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    result = run(tmp_path, env={"TMPDIR": str(tmp_path / "temporary")}, before=before)
    ran(tmp_path, result)
    (moved,) = [event for event in events(result, "config.adjusted") if event["setting"] == "profiles-dir"]
    assert "Permission denied" in moved["reason"]
    assert list((tmp_path / "profiles").iterdir()) == []


def mounted(folder: Path, mount: str) -> list[str]:
    """A prefix that runs a command with `profiles` on a mount of its own, in a namespace of its own."""
    (folder / "profiles").mkdir()
    prefix = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs {mount} none profiles || exit 99; "$@"', "sh"]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting takes root and unshare")
    if subprocess.run([*prefix, "true"], cwd=folder, capture_output=True).returncode != 0:
        pytest.skip("this place doesn't let root mount")
    return prefix


def test_a_read_only_file_system(tmp_path: Path) -> None:
    before = mounted(tmp_path, "-o ro")
    result = run(tmp_path, before=before, env={"TMPDIR": str(tmp_path / "temporary")})
    ran(tmp_path, result)
    (moved,) = [event for event in events(result, "config.adjusted") if event["setting"] == "profiles-dir"]
    assert "Read-only file system" in moved["reason"]


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    before = mounted(tmp_path, "-o size=64k")
    before[-2] = before[-2].replace('"$@"', 'head -c 1000000 /dev/zero >profiles/fill 2>/dev/null; "$@"')
    result = run(tmp_path, before=before, env={"TMPDIR": str(tmp_path / "temporary")})
    ran(tmp_path, result)
    told = events(result, "store.failed") + [
        event for event in events(result, "config.adjusted") if event["setting"] == "profiles-dir"
    ]
    assert any("No space left" in event["reason"] for event in told), result.stderr


def test_a_disk_that_fills_up_during_the_run(tmp_path: Path) -> None:
    before = mounted(tmp_path, "-o size=256k")
    text = (
        "until ls profiles/monitored/*/run.json; do :; done; head -c 1000000 /dev/zero >profiles/fill; : >ran; exit 7"
    )
    result = run(tmp_path, before=before, command=["sh", "-c", text])
    ran(tmp_path, result)
    (told, *_) = events(result, "store.failed")
    assert told["reason"] == "No space left on device" and told["hint"]
    assert events(result, "run.exited")[0]["code"] == 7


# -- more than one guard --------------------------------------------------------------------------------------------


def test_two_guards_on_one_directory(start: Any, tmp_path: Path) -> None:
    shared = {"GUARD_PROFILES_DIR": str(tmp_path / "shared")}
    first = start([], ["cat"], stdin=subprocess.PIPE, env=shared)
    begun = first.wait_for("run.started")
    second = start([], ["sh", "-c", "exit 7"], env=shared)
    assert second.end() == 7
    assert second.named("previous_run.found") == []  # the first one lives, it wasn't killed
    first.process.stdin.close()
    assert first.end() == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "shared").glob("monitored/*/run.json")]
    assert sorted(record["code"] for record in records) == [0, 7]
    assert begun["run"] in {record["run"] for record in records}


def test_a_killed_guard_is_told_by_the_next(start: Any, tmp_path: Path) -> None:
    shared = {"GUARD_PROFILES_DIR": str(tmp_path / "shared")}
    first = start(["--parent-death-signal", "KILL"], ["sleep", "300"], env=shared)
    begun = first.wait_for("run.started")
    # The lock is taken right after run.started; a signal that was forwarded shows that the loop runs.
    first.process.send_signal(signal.SIGCONT)
    first.wait_for("signal.forwarded")
    first.process.kill()
    first.process.wait()
    second = start([], ["sh", "-c", "exit 7"], env=shared)
    assert second.end() == 7
    (found,) = second.named("previous_run.found")
    assert found["run"] == begun["run"] and found["reason"] == "guard was killed"


def test_a_guard_below_another_ignores_its_variables(tmp_path: Path) -> None:
    inner = [*GUARD, "run", "--", "sh", "-c", f": >'{tmp_path}/ran'; exit 7"]
    result = run(tmp_path, env={"GUARD_INTERVAL": "7s"}, command=inner)
    ran(tmp_path, result)
    outer, below = events(result, "run.started")
    if outer["pid"] == below["guard_pid"]:
        pass
    else:
        outer, below = below, outer
    assert outer["pid"] == below["guard_pid"]
    assert (outer["interval_s"], below["interval_s"]) == (7.0, 5.0)
    (ignored,) = events(result, "config.ignored")
    assert ignored["variable"] == "GUARD_INTERVAL" and ignored["reason"]
