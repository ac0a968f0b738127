"""What HotSpot prints (recorded from 17 and 25), and when it isn't asked."""

from __future__ import annotations

import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers import java
from supervisor.profilers.failure import Failure

FIRST = """ num     #instances         #bytes  class name (module)
-------------------------------------------------------
   1:        150922       30443112  [B (java.base@17.0.15)
   2:        139756        4472192  java.util.HashMap$Node (java.base@17.0.15)
   3:        136001        4352032  Leak$Session
   4:           338        1096544  [Ljava.util.HashMap$Node; (java.base@17.0.15)
   5:          6053         193696  com.sun.tools.javac.util.SharedNameTable$NameImpl (jdk.compiler@17.0.15)
   6:             8          33080  [C (java.base@17.0.15)
Total        432078       40590656
"""
LATER = """ num     #instances         #bytes  class name (module)
-------------------------------------------------------
   1:        303274       60913512  [B (java.base@17.0.15)
   2:        292108        9347456  java.util.HashMap$Node (java.base@17.0.15)
   3:        288353        9227296  Leak$Session
   4:           338        3145144  [Ljava.util.HashMap$Node; (java.base@17.0.15)
   5:          6053         193696  com.sun.tools.javac.util.SharedNameTable$NameImpl (jdk.compiler@17.0.15)
"""
DUMP = """2026-11-26 18:08:56
Full thread dump OpenJDK 64-Bit Server VM (17.0.15+6-Debian-1deb12u1 mixed mode, sharing):

Threads class SMR info:
_java_thread_list=0x00007f8364001f70, length=12, elements={
0x00007f83f4018020, 0x00007f83f40f6c50
}

"main" #1 prio=5 os_prio=0 cpu=653.77ms elapsed=5.67s tid=0x00007f83f4018020 nid=0x208c runnable  [0x00007f83fadfe000]
   java.lang.Thread.State: RUNNABLE
\tat java.io.FileInputStream.readBytes(java.base@17.0.15/Native Method)
\tat java.io.FileInputStream.read(java.base@17.0.15/FileInputStream.java:276)
\t- locked <0x00000006874007a8> (a java.io.BufferedInputStream)
\tat Leak.main(Leak.java:31)

"main" #3 [21073] prio=5 os_prio=0 cpu=705.42ms elapsed=2.01s tid=0x00007fd48002e1f0 nid=21073 waiting on condition  [0x00007fd486ffd000]
   java.lang.Thread.State: TIMED_WAITING (sleeping)
\tat java.lang.Thread.sleepNanos0(java.base@25.0.1/Native Method)
\tat app//org.example.Pool$$Lambda/0x00007fd40c002a10.run(Unknown Source)

"VM Thread" os_prio=0 cpu=12.58ms elapsed=5.63s tid=0x00007f83f40ea2a0 nid=0x209e runnable  

"a \\" runnable" #9 daemon prio=8 os_prio=0 tid=0x1 nid=0x20b0 in Object.wait()  [0x00007f83d0947000]
   java.lang.Thread.State: WAITING (on object monitor)

JNI global refs: 15, weak refs: 0
"""  # noqa: W291, E501 - as it is printed


def test_a_histogram() -> None:
    found = java.parse_histogram(FIRST)
    assert found["[B"] == (150922, 30443112) and found["Leak$Session"] == (136001, 4352032)
    assert len(found) == 6
    assert java.parse_histogram("") == java.parse_histogram("java.lang.OutOfMemoryError\n") == {}


def test_the_class_that_grew() -> None:
    rows = java.grown(java.parse_histogram(FIRST), java.parse_histogram(LATER))
    assert [row["name"] for row in rows] == [
        "byte[]", "java.util.HashMap$Node", "Leak$Session", "java.util.HashMap$Node[]"
    ]  # fmt: skip
    assert rows[0]["gained_count"] == 152352 and rows[0]["gained_bytes"] == 30470400
    named = java.telling(rows)
    assert named is not None and named["name"] == "Leak$Session"
    assert java.telling([]) is None
    strings = [{"name": "byte[]", "gained_bytes": 900}, {"name": "com.example.Rare", "gained_bytes": 10}]
    assert java.telling(strings) == strings[0]  # a hundredth tells nothing


@pytest.mark.parametrize(
    ("name", "shown"),
    [("[B", "byte[]"), ("[[J", "long[][]"), ("[La.String;", "a.String[]"), ("a.B$C", "a.B$C"), ("[", "[]")],
)  # fmt: skip
def test_names_of_arrays(name: str, shown: str) -> None:
    assert java.readable(name) == shown


def test_threads() -> None:
    threads = java.parse_threads(7, DUMP)
    assert [(each["thread_name"], each["os_thread_id"], each["active"]) for each in threads] == [
        ("main", 0x208C, True), ("main", 21073, False), ("VM Thread", 0x209E, True), ('a \\" runnable', 0x20B0, False)
    ]  # fmt: skip
    assert [(frame["name"], frame["filename"], frame["line"]) for frame in threads[0]["frames"]] == [
        ("java.io.FileInputStream.readBytes", "Native Method", 0),
        ("java.io.FileInputStream.read", "FileInputStream.java", 276),
        ("Leak.main", "Leak.java", 31),
    ]
    assert len(threads[1]["frames"]) == 2 and threads[1]["frames"][1]["filename"] == "Unknown Source"


@given(st.text(max_size=300), st.sampled_from([FIRST, DUMP]), st.integers(0, 2000))
def test_any_answer_is_taken(text: str, known: str, at: int) -> None:
    spoiled = known[:at] + text + known[at:]
    java.grown(java.parse_histogram(spoiled), java.parse_histogram(text))
    for thread in java.parse_threads(1, spoiled):
        assert all(frame["line"] >= 0 for frame in thread["frames"])


@pytest.mark.parametrize("more", [[], ["-Xrs"], ["-XX:+DisableAttachMechanism"]])
def test_who_would_not_take_a_signal_well_gets_none(more: list[str]) -> None:
    """SIGQUIT ends a process that doesn't catch it."""
    with subprocess.Popen(
        ["sh", "-c", "echo ready; read line", *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        with pytest.raises(Failure) as failure:
            java.histogram(process.pid, live=True, deadline_s=2)
        assert failure.value.reason == "java-refused"
        assert (more[0] if more else "SIGQUIT") in failure.value.said
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() in (0, 1)


def test_a_stopped_one_is_not_asked() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        for _ in range(10_000):
            if "stopped" in java.refusal(process.pid):  # before its exec it has no arguments that can be read
                break
        assert "stopped" in java.refusal(process.pid)
        process.send_signal(signal.SIGCONT)
