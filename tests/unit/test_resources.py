"""What triggers read of this very process and of files laid out like the kernel's."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor import resources, sample
from supervisor.model import Process
from supervisor.resources import Resources
from supervisor.triggers import Rules

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def own() -> Process:
    found = sample.read_process(os.getpid())
    assert found is not None
    return found


@pytest.mark.parametrize("counted", [True, False])
def test_descriptors_are_counted_by_size_or_one_by_one(monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    if counted and not resources._kernel_counts():
        pytest.skip("the size of /proc/PID/fd tells nothing before Linux 6.2")
    monkeypatch.setattr(resources, "_kernel_counts", lambda: counted)
    before, limit = Resources(Rules(fds=0.5)).read([own()], None, 0.0).fds[os.getpid()]
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(7)]
    try:
        after, _ = Resources(Rules(fds=0.5)).read([own()], None, 0.0).fds[os.getpid()]
    finally:
        for fd in opened:
            os.close(fd)
    assert after - before == 7


def test_listing_takes_a_bounded_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_kernel_counts", lambda: False)
    reader = Resources(Rules(fds=10))
    began_s = time.monotonic()
    first = reader.read([own()], None, 100.0)
    cost_s = time.monotonic() - began_s
    assert reader.read([], None, 100.0).fds == first.fds  # not read again so soon
    assert reader.read([], None, 100.0 + cost_s / 0.02 + 1).fds == {}


def test_what_is_read_and_written_is_counted() -> None:
    reader = Resources(Rules(probing=True, stall_s=30))
    before = reader.read([own()], None, 0.0).io_bytes[os.getpid()]
    with open("/dev/zero", "rb", buffering=0) as zeros:
        zeros.read(100_000)
    assert reader.read([own()], None, 0.0).io_bytes[os.getpid()] - before >= 100_000


def test_a_process_that_is_gone_is_left_out_and_no_trouble() -> None:
    child = subprocess.Popen(["true"])
    gone = Process(child.pid, os.getpid(), 1, "true", "S", 0)
    child.wait()
    reader = Resources(Rules(fds=0.5, stall_s=1, probing=True))
    extra = reader.read([gone], None, 0.0)
    assert (extra.fds, extra.io_bytes, reader.missing) == ({}, {}, {})


def test_pressure_is_the_cgroups_else_the_machines(tmp_path: Path) -> None:
    line = "some avg10=7.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=2.25 avg60=0.00 avg300=0.00 total=0\n"
    (tmp_path / "io.pressure").write_text(line)
    reader = Resources(Rules(pressure={"io:some": 10, "io:full": 10, "memory:some": 10}))
    extra = reader.read([], str(tmp_path), 0.0)
    assert (extra.pressure["io:some"], extra.pressure["io:full"]) == (7.5, 2.25)
    assert (extra.pressure_of["io:some"], extra.pressure_of.get("memory:some")) in (
        ("cgroup", "machine"), ("cgroup", None),
    )  # fmt: skip


def test_where_none_is_counted_that_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cpu.pressure").write_text("some avg10=1.00 avg60=0.00 avg300=0.00 total=0\n")  # a kernel before 5.13
    reader = Resources(Rules(pressure={"cpu:full": 10}))
    assert reader.read([], str(tmp_path), 0.0).pressure == {}
    assert list(reader.missing) == ["pressure cpu:full"]
    assert all(reader.missing["pressure cpu:full"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user's process to be refused")
def test_what_is_refused_is_named_and_no_number(tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from supervisor import sample, resources, triggers\n"
        "os.setuid(65534)\n"
        "reader = resources.Resources(triggers.Rules(fds=5, stall_s=1, probing=True)); reader._counted = False\n"
        "extra = reader.read([sample.read_process(1)], None, 0.0)\n"
        "print(dict(extra.fds), dict(extra.io_bytes), sorted(reader.missing))"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "{} {} ['I/O counts', 'open descriptors']", done.stderr


def test_a_process_whose_first_thread_says_nothing_is_called_by_its_program() -> None:
    """Node 24 calls it MainThread, and the guilty process would be of that name."""
    line = "open('/proc/self/comm', 'w').write('MainThread'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        found = sample.read_process(child.pid)
        tree = sample.ProcTree().read((child.pid,), (), 0.0)
        child.communicate(b"\n")
    name = os.path.basename(os.path.realpath(sys.executable))
    assert found is not None and found.name == name and [each.name for each in tree] == [name]
