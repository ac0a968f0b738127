"""Sockets to be called on, and who may call."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor.errors import UsageError
from supervisor.oomd import listening


def test_root_guards_own_user_and_oomds_may_call() -> None:
    def lookup(name: str) -> SimpleNamespace:
        assert name == "systemd-oom"
        return SimpleNamespace(pw_uid=4711)

    assert listening.may_call(0, lookup) and listening.may_call(os.geteuid(), lookup)
    assert listening.may_call(4711, lookup)
    assert not listening.may_call(4712, lookup) and not listening.may_call(-1, lookup)


def test_without_oomds_user_only_root_may() -> None:
    def lookup(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    assert not listening.may_call(4711, lookup)


def test_who_called_is_what_the_kernel_says() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert listening.peer(ours) == os.geteuid()


def test_a_socket_of_its_own_is_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "below" / "hook"
    with listening.listen(str(path)) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert not listener.get_inheritable()
        with pytest.raises(UsageError, match="can't listen") as caught:  # another one lives there
            listening.listen(str(path))
        assert caught.value.why
    with listening.listen(str(path)):  # and what it left is no hindrance
        pass


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "hook"
    path.write_text("mine")
    with pytest.raises(UsageError):
        listening.listen(str(path))
    assert path.read_text() == "mine"
    with pytest.raises(UsageError):
        listening.listen(str(tmp_path / ("x" * 200)))


def test_nothing_is_inherited_that_was_meant_for_another() -> None:
    assert listening.inherited({}) == []
    assert listening.inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    for count in ("", "0", "-1", "many"):
        assert listening.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == []


def test_what_systemd_hands_over_is_checked() -> None:
    """In a process of its own: descriptor 3 here is somebody's."""
    code = f"""if True:
        import os, socket, sys
        sys.path[:0] = {sys.path!r}
        from supervisor.oomd import listening
        from supervisor.errors import UsageError
        made = socket.socket({{"tcp": socket.AF_INET}}.get(sys.argv[1], socket.AF_UNIX))
        if sys.argv[1] == "listens":
            made.bind(""), made.listen()
        os.dup2(made.fileno(), 3) if made.fileno() != 3 else None
        try:
            found = listening.inherited({{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}})
            print([each.fileno() for each in found], os.get_inheritable(3))
        except UsageError as error:
            print(error)
    """
    said = {
        kind: subprocess.run(
            [sys.executable, "-IS", "-c", code, kind], capture_output=True, text=True, check=True
        ).stdout.strip()
        for kind in ("listens", "silent", "tcp")
    }
    refused = "descriptor 3 from systemd is no listening unix socket"
    assert said == {"listens": "[3] False", "silent": refused, "tcp": refused}
