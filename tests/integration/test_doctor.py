"""`guard doctor` on this machine, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.integration
Guard = Callable[..., subprocess.CompletedProcess[bytes]]


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in document["capabilities"]}


def test_on_a_throw_away_process(run_guard: Guard) -> None:
    done = run_guard("doctor", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = by_name(document)
    assert document["target"] is None
    assert document["counts"]["total"] == len(found)
    for name in ("processes in /proc", "py-spy", "stacks", "CPU profile", "growth names the function", "isolated",
                 "growth by mapping"):  # fmt: skip
        assert found[name]["status"] == "works", found[name]
    assert all(entry["hint"] for entry in found.values() if entry["status"] == "refused")


def test_on_a_python_process_that_goes_on(run_guard: Guard) -> None:
    program = "import time\nprint(flush=True)\nwhile True: time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as target:
        assert target.stdout is not None
        target.stdout.readline()
        done = run_guard("doctor", "--pid", str(target.pid), "--json")
        alive = target.poll() is None
        with open(f"/proc/{target.pid}/status") as status:
            fields = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
        target.kill()
    found = by_name(json.loads(done.stdout))
    assert alive and fields["State"][0] in "SR" and fields["TracerPid"].strip() == "0"
    assert found["stacks"]["status"] == "works"
    assert found["growth names the function"]["status"] == "absent"


def test_on_a_process_that_is_not_python(run_guard: Guard) -> None:
    with subprocess.Popen(["sleep", "60"]) as target:
        done = run_guard("doctor", "--pid", str(target.pid), "--json")
        target.kill()
    found = by_name(json.loads(done.stdout))
    for name in ("stacks", "stacks without stopping"):
        assert (found[name]["status"], found[name]["detail"]) == ("absent", "the process is not Python")
    assert found["growth by mapping"]["status"] == "works", found["growth by mapping"]
    assert found["native stacks"]["status"] in ("works", "refused", "absent")
    assert found["CPU profile"]["status"] in ("works", "refused"), found["CPU profile"]
    whose = {"Java objects": "a Java", "Node's inspector": "a Node", "Bun at launch": "a Bun", "Go's pprof": "a Go"}
    for name, program in whose.items():
        assert found[name]["status"] == "absent"
        assert found[name]["detail"] == f"only of {program}, and process {target.pid} is none"


def test_no_such_process(run_guard: Guard) -> None:
    done = run_guard("doctor", "--pid", "4194304")
    assert done.returncode == 2
    assert b"there is no process 4194304" in done.stderr and b"try: guard doctor --pid" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_refused_with_what_to_do(run_guard: Guard, tmp_path: Any) -> None:
    interpreter = "/usr/bin/python3"
    if not os.path.exists(interpreter):
        pytest.skip("no interpreter that another user can read")
    code = (
        "import sys; sys.path[:0] = ['.']\n"
        "from supervisor import sample\nfrom supervisor.doctor import checks, tryout\n"
        f"scene = tryout.Scene(1, sample.read_process({os.getpid()}), 'self', '/nowhere', throwaway=False)\n"
        "print(tryout.bounded(tryout.Check('x', checks.same_user), scene))\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([interpreter, "-B", "-c", code], cwd=root, user=65534, capture_output=True, text=True)
    assert "refused" in done.stdout and "SYS_PTRACE" in done.stdout, done.stderr


def test_node_and_bun_have_rows(run_guard: Guard) -> None:
    found = by_name(json.loads(run_guard("doctor", "--json").stdout))
    for name, row in (("node", "Node's inspector"), ("bun", "Bun at launch")):
        expected = "works" if shutil.which(name) else "absent"
        assert found[row]["status"] == expected, found[row]


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_a_foreign_node_is_only_looked_at(run_guard: Guard) -> None:
    command = ["node", "--inspect-port=0", "-e", "console.log('up'); setInterval(() => {}, 1000)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as target:
        assert target.stdout is not None and target.stderr is not None
        target.stdout.readline()
        found = by_name(json.loads(run_guard("doctor", "--pid", str(target.pid), "--json").stdout))
        target.kill()
        said = target.stderr.read()
    assert found["Node's inspector"]["status"] == "works" and "not tried" in found["Node's inspector"]["detail"]
    assert said == b""
