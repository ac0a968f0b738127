from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import files, output


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def in_its_place(kind: str, path: Path) -> None:
    """Something that is no regular file at `path`: a `fifo` without a writer, a `link` to a file, a `folder`."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        target = path.with_name("linked")
        target.write_text("{}")
        path.symlink_to(target)
    else:
        path.mkdir()


NOT_REGULAR = ("fifo", "link", "folder")


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(directory: int, tmp_path: Path, kind: str) -> None:
    in_its_place(kind, tmp_path / "a")
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as by_name:
        files.open_regular("a", directory)
    with pytest.raises(OSError) as by_path:
        files.open_regular(str(tmp_path / "a"))
    assert by_name.value.errno == by_path.value.errno == (errno.ELOOP if kind == "link" else errno.EINVAL)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_regular_file_is_opened_by_name_and_by_path(directory: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    for fd in (files.open_regular("a", directory), files.open_regular(str(tmp_path / "a"))):
        assert os.read(fd, 9) == b"x" and not os.get_inheritable(fd)
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        files.open_regular("b", directory)


def test_put_is_private_whatever_the_umask(directory: int, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.put(directory, "a", b"x")
        files.put(directory, "b", b"x", 0o640)
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_put_replaces_a_link_and_leaves_its_end_alone(directory: int, tmp_path: Path) -> None:
    (tmp_path / "end").write_text("kept")
    (tmp_path / "a").symlink_to(tmp_path / "end")
    files.put(directory, "a", b"new")
    assert (tmp_path / "end").read_text() == "kept"
    assert not (tmp_path / "a").is_symlink()


def test_put_leaves_nothing_behind_when_it_fails(directory: int, tmp_path: Path) -> None:
    files.put(directory, "a", b"old")
    code = (
        "import os, resource, sys; from supervisor import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "try: files.put(fd, 'a', b'x' * 100)\n"
        "except OSError as e: print(e.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stdout) == (0, b"27\n"), done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_no_directory_on_the_way_is_a_link(directory: int, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(OSError):
        files.open_below(directory, ("link", "x"), create=True)
    with pytest.raises(OSError):
        files.open_directory(str(tmp_path / "link"), create=True)
    assert os.listdir(tmp_path / "elsewhere") == []
    fd = files.open_below(directory, ("a", "b"), create=True)
    os.close(fd)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_lines_come_whole(directory: int, tmp_path: Path) -> None:
    lines = files.Lines(directory, "f", 500, ring=False)
    for n in range(200):
        lines.add(b"%d\n" % n)
    assert (tmp_path / "f").stat().st_size <= 500
    assert lines.dropped > 0
    assert (tmp_path / "f").read_bytes().endswith(b"\n")
    lines.close()


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(700, 3000))
def test_a_ring_keeps_the_newest_whole_lines(sizes: list[int], most: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as where:
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        ring = files.Lines(fd, "f", most, ring=True)
        written = [bytes([65 + n % 26]) * size + b"\n" for n, size in enumerate(sizes)]
        for line in written:
            ring.add(line)
        data = Path(where, "f").read_bytes()
        ring.close()
        os.close(fd)
        assert len(data) <= most
        kept = data.splitlines(keepends=True)
        assert kept == written[len(written) - len(kept) :]
        assert not written or kept


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    code = (
        "import os, resource, sys; from supervisor import files\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "lines = files.Lines(fd, 'f', 1 << 20, ring=True)\n"
        "lines.add(b'whole\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9))\n"
        "for _ in range(2):\n"
        "    try: lines.add(b'too long\\n')\n"
        "    except OSError as e: print(e.errno)\n"
        "print(lines.dropped)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stdout) == (0, b"27\n27\n2\n"), done.stderr
    assert (tmp_path / "f").read_bytes() == b"whole\n"


def test_a_broken_pipe_is_an_error_and_no_signal() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    seen: list[int] = []
    old = signal.signal(signal.SIGPIPE, lambda number, frame: seen.append(number))
    try:
        with pytest.raises(BrokenPipeError):
            output.write(write_end, b"x")
        os.getpid()
    finally:
        signal.signal(signal.SIGPIPE, old)
        os.close(write_end)
    assert seen == []
    assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)


def test_what_a_killed_process_left_is_swept(directory: int, tmp_path: Path) -> None:
    files.put(directory, "whole.json", b"{}")
    (tmp_path / ".run.json.77.tmp").write_text("{")
    files.sweep(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"]
