"""What the kernel tells of threads, from its own words."""

from __future__ import annotations

import os
import select
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers import kernel

STACK = """[<0>] futex_wait_queue+0x5e/0xb0
[<ffffffff81234567>] do_futex+0x105/0x240 [some_module]
[<0>] 0xffffffffffffffff
"""


def test_the_stack_of_the_kernel() -> None:
    frames = kernel.stack_frames(STACK)
    assert [frame["name"] for frame in frames] == ["futex_wait_queue", "do_futex"]
    assert {frame["filename"] for frame in frames} == {"[kernel]"}
    assert kernel.stack_frames(None) == kernel.stack_frames("") == []


@pytest.mark.parametrize(
    ("said", "machine", "name"),
    [
        ("202 0x7f 0x80 0x0 0x0 0x0 0x0 0x7ffd 0x7f12", "x86_64", "futex"),
        ("98 0x7f 0x80 0x0 0x0 0x0 0x0 0x7ffd 0x7f12", "aarch64", "futex"),
        ("999 0x0", "x86_64", "system call 999"),
        ("7 0x0", "riscv64", "system call 7"),
        ("running\n", "x86_64", None),
        ("-1 0x7ffd 0x7f12", "x86_64", None),
        ("", "x86_64", None),
        (None, "x86_64", None),
    ],
)
def test_the_name_of_a_call(said: str | None, machine: str, name: str | None) -> None:
    assert kernel.call_name(said, machine) == name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_call_has_one_number(machine: str) -> None:
    words = kernel._CALLS[machine].split()
    assert len(set(words)) == len(words)
    assert all(word.isdigit() == bool(place % 2) for place, word in enumerate(words))


def test_a_name_that_looks_like_more() -> None:
    assert kernel.name_and_state("12 (a) R (b) S 1 2") == ("a) R (b", "S")
    assert kernel.name_and_state("12 (a)") == ("a", "")
    assert kernel.waits_in("0") is None and kernel.waits_in("do_wait\n") == "do_wait"


@given(st.text(max_size=80))
def test_any_text_is_taken(text: str) -> None:
    kernel.name_and_state(text)
    kernel.call_name(text, "x86_64")
    kernel.stack_frames(text)


def test_a_process_that_waits() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        select.select([process.stdout], [], [], 30)  # it echoed, and reads again
        for _ in range(1000):
            (thread,) = kernel.threads(process.pid)
            if thread["state"] == "sleeping":
                break
        assert thread["thread_name"] == "cat" and thread["syscall"] in ("read", None)
        assert thread["frames"] or os.geteuid() != 0
        process.stdin.close()
    with pytest.raises(ProcessLookupError):
        kernel.threads(process.pid)
