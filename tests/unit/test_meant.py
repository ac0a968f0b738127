"""Lines that can't be run, and the line that was meant: always one that a shell takes as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import meant
from supervisor.commands import mistaken, shared
from supervisor.errors import UsageError
from supervisor.scaffold import wish


@pytest.fixture
def around(tmp_path: Path) -> meant.Around:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bin/python", "bin/node", "job.sh", "no-program"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o600 if name == "no-program" else 0o700)
    for name in ("app.py", "my app.py", "leak.js", "plain.sh"):
        (tmp_path / name).write_text("")
    return meant.Around(str(programs), str(tmp_path))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["ls | wc -l"], "sh -c 'ls | wc -l'"),
        (["ls > $HOME/x", "a b"], "sh -c 'ls > $HOME/x '\"'\"'a b'\"'\"''"),
        (["python app.py"], "python app.py"),
        (["python 'my app.py'", "--x"], "python 'my app.py' --x"),
        (["job.sh"], "./job.sh"),
        (["plain.sh", "1"], "sh plain.sh 1"),
        (["app.py"], "python app.py"),
        (["./app.py"], "python ./app.py"),
        (["my app.py"], "python 'my app.py'"),
        (["leak.js"], "node leak.js"),
        (["FOO=1", "python", "app.py"], "env FOO=1 python app.py"),
        (["FOO=1 python app.py"], "env FOO=1 python app.py"),
        (["cd", "/tmp"], "sh -c 'cd /tmp'"),
        (["cd '/a b'"], "sh -c 'cd '\"'\"'/a b'\"'\"''"),
        (["source", "x"], "bash -c 'source x'"),
        (["it's one"], "sh -c 'it'\"'\"'s one'"),
    ],
)
def test_what_was_meant(around: meant.Around, command: list[str], line: str) -> None:
    found = meant.words(command, around)
    assert found is not None and shlex.join(found) == line


@pytest.mark.parametrize("command", [["nope"], ["FOO=1"], ["/srv/my app"], ["no-program"], ["./no-program"]])
def test_what_cant_be_guessed(around: meant.Around, command: list[str]) -> None:
    assert meant.words(command, around) is None


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3))
def test_any_command_gets_words_or_none(command: list[str]) -> None:
    found = meant.words(command, meant.Around("/nowhere", "/nowhere"))
    assert found is None or found == shlex.split(shlex.join(found))


def test_the_line_names_guards_command(around: meant.Around, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["guard", "profile", "app.py"])
    assert meant.instead_of(["app.py"], around.path, around.directory) == "guard profile -- python app.py"
    assert meant.instead_of(["42"], around.path, around.directory) == "guard profile --pid 42"
    monkeypatch.setattr("sys.argv", ["guard", "run", "42"])
    assert meant.instead_of(["42"], around.path, around.directory) == "guard watch 42"
    assert meant.instead_of(["nope"], around.path, around.directory) is None


def test_a_name_is_quoted_where_it_has_to_be_looked_for() -> None:
    assert meant.look_at("no pe") == "command -v 'no pe'"
    assert meant.look_at("./a b") == "ls -l './a b'"
    assert meant.in_a_shell(["echo", "a b"], []) == "sh -c 'echo '\"'\"'a b'\"'\"' | OTHER'"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["help"], "guard --help"),
        (["version"], "guard --version"),
        (["status"], "guard ctl state"),
        (["ps"], "guard runs"),
        (["list"], "guard runs"),
        (["start"], "guard run -- COMMAND"),
        (["stop"], "guard ctl stop"),
        (["python", "app.py"], "guard run -- python app.py"),
        (["app.py"], "guard run -- python app.py"),
        (["./job.sh", "a b"], "guard run -- ./job.sh 'a b'"),
        (["python app.py"], "guard run -- python app.py"),
        (["1234"], "guard watch 1234"),
    ],
)
def test_a_first_word_that_is_no_command(
    around: meant.Around, arguments: list[str], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(around.directory)
    monkeypatch.setenv("PATH", around.path)
    with pytest.raises(UsageError) as told:
        mistaken.check(arguments, ["run", "runs"])
    assert (told.value.hint, told.value.code) == (hint, 2)


@pytest.mark.parametrize("arguments", [[], ["run"], ["--help"], ["rnu"]])
def test_the_rest_is_left_to_the_parser(arguments: list[str]) -> None:
    mistaken.check(arguments, ["run", "runs"])


def test_a_pid_is_a_number_and_told_so_in_guards_words() -> None:
    assert shared.pid("42") == 42
    for text in ("abc", "0", "-1", "", "4.2", "٣", "9" * 30):
        with pytest.raises(UsageError, match="is no PID"):
            shared.pid(text)


@pytest.mark.parametrize("text", ["a | b", "a > log", "a 2>&1", "a && b", "a|b", "a;b", "a &"])
def test_init_writes_no_line_that_only_a_shell_understands(text: str) -> None:
    with pytest.raises(UsageError) as told:
        wish.command_of(text)
    assert shlex.split(told.value.hint)[:4] == ["guard", "init", "--command", f"sh -c {shlex.quote(text)}"]


@pytest.mark.parametrize("text", ["a 'b|c' d;e".replace(";", "@"), "sh -c 'a | b'", "a --x=1 ./b:c %d #e"])
def test_init_takes_words_whatever_they_hold(text: str) -> None:
    assert wish.command_of(text) == tuple(shlex.split(text))


@pytest.mark.parametrize(
    "text",
    ["sh -c 'a | b; c'", 'sh -c "a; b > f"', "curl http://x/?a=1&b=2", "echo \\; '|' \">\"", "it\\'s", "a 'b\"|\"c'"],
)
def test_what_is_quoted_is_no_operator(text: str) -> None:
    assert not meant.operators(text)
