"""From guard's caller to boot.main: scripts/guard, bin/guard and supervisor/entry.py; also scripts/setup.py.

All in a copy of this checkout whose boot.main tells what it was given.
"""

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parents[2]
COPIED = (
    "pyproject.toml",
    "constraints.txt",
    "bin/guard",
    "scripts/guard",
    "scripts/lib.sh",
    "scripts/setup.py",
    "supervisor/entry.py",
)
TELLING_BOOT = """
def main(mask, environ=None):
    import sys
    modules = sorted(sys.modules)
    import json
    with open("/proc/self/environ", "rb") as file:
        given = file.read() if environ is None else environ
    with open("/proc/self/status") as file:
        ignored, = (int(line.split()[1], 16) for line in file if line.startswith("SigIgn:"))
    json.dump({
        "arguments": sys.argv[1:],
        "mask": sorted(mask),
        "ignored": [number for number in range(1, 65) if ignored >> number - 1 & 1],
        "environ": given.decode("latin-1"),
        "saved": environ is not None,
        "isolated": bool(sys.flags.isolated),
        "modules": modules,
        "package": list(sys.modules["supervisor"].__path__),
        "path": sys.path,
    }, sys.stdout)
    sys.exit(7)
"""
SITE_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
DEPENDENCIES = ("psutil", "structlog", "typer")
PLAIN = {b"PATH": os.environb[b"PATH"], b"HOME": b"/nonexistent"}
# Names and values that a shell, a text layer or guard's own starters could lose.
ODD = {
    b"a.b": b"1",
    b"1st": b"x=y",
    b"NOT_UTF8": b"\xff\xfe",
    b"EMPTY": b"",
    b"LINES": b" a\n b ",
    b"guard_root": b"/x",
}


def load_setup(root):
    spec = importlib.util.spec_from_file_location("copied_setup", root / "scripts/setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stamp(root):
    """Says that this .venv is right, and newer than what it's made from by more than busybox's one second."""
    setup = load_setup(root)
    for dev in (True, False):
        setup.stamp_file(dev).write_text(setup.fingerprint())
    for name in COPIED:
        os.utime(root / name, (time.time() - 60,) * 2)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy whose .venv holds no pip and only empty dependencies. Tests share it, so none changes it."""
    root = tmp_path_factory.mktemp("some where") / "guard"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HERE / name, root / name)
    (root / "supervisor/boot.py").write_text(TELLING_BOOT)
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", root / ".venv"], check=True)
    for name in DEPENDENCIES:
        (root / ".venv" / SITE_PACKAGES / name).mkdir()
    stamp(root)
    return root


@pytest.fixture
def own_checkout(checkout, tmp_path):
    """The same, to change."""
    root = tmp_path / "guard"
    shutil.copytree(checkout, root, symlinks=True)
    stamp(root)
    return root


@pytest.fixture(params=["#!", "dash", "busybox sh", "bash --posix"])
def shell(request):
    """What to put before a script so that this shell runs it; nothing where its own first line says which."""
    if request.param == "#!":
        return []
    name, *arguments = request.param.split()
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return [shutil.which(name), *arguments]


@pytest.fixture
def hostile(tmp_path):
    """A directory that ends any Python which has it on its path."""
    place = tmp_path / "hostile"
    (place / "supervisor").mkdir(parents=True)
    for name in ("sitecustomize.py", "usercustomize.py", "types.py", "supervisor/__init__.py"):
        (place / name).write_text(f"raise SystemExit('{name} ran')")
    return place


def ask(*command, env=PLAIN, **how):
    """What boot.main was given."""
    done = subprocess.run(command, env=env, capture_output=True, **how)
    assert (done.returncode, done.stderr) == (7, b"")
    return json.loads(done.stdout)


def block(env):
    """The environment as execve(2) passes it."""
    return b"".join(name + b"=" + value + b"\0" for name, value in env.items()).decode("latin-1")


class TestScriptsGuard:
    def test_hands_over_arguments_and_starts_lean(self, checkout, shell):
        told = ask(*shell, checkout / "scripts/guard", "run", "--", "a b", "*", "")
        assert told["arguments"] == ["run", "--", "a b", "*", ""]
        assert told["package"] == [f"{checkout}/bin/../supervisor"]
        assert told["path"][-1] == f"{checkout}/.venv/bin/../{SITE_PACKAGES}"
        assert told["isolated"]
        assert {"os", "site", "re", "enum"}.isdisjoint(told["modules"])

    @pytest.mark.parametrize("start", [os.path.abspath, os.path.relpath], ids=["absolute", "relative"])
    def test_through_links(self, checkout, shell, tmp_path, monkeypatch, start):
        monkeypatch.chdir(tmp_path)
        Path("first").symlink_to(start(checkout / "scripts/guard"))
        Path("second").symlink_to("first")
        Path("scripts").symlink_to(start(checkout / "scripts"))
        Path("other").symlink_to("scripts")
        for path in ("./second", tmp_path / "second", "scripts/guard", "other/guard"):
            assert ask(*shell, path, "x")["arguments"] == ["x"]

    @pytest.mark.parametrize("folder", ["scripts", ".", "bin", "/"])
    def test_from_another_folder(self, checkout, shell, folder):
        path = os.path.join(".", os.path.relpath(checkout / "scripts/guard", checkout / folder))
        assert ask(*shell, path, "x", cwd=checkout / folder)["arguments"] == ["x"]

    @pytest.mark.parametrize(
        "env",
        [
            PLAIN | ODD,
            ODD | {b"PATH": b"", b"PWD": b"/not/here", b"OLDPWD": b"", b"_": b"x", b"SHLVL": b"a"},
            PLAIN | {b"LC_ALL": b"C"},
            PLAIN | {b"LC_CTYPE": b"POSIX", b"LC_CTYPE_": b"x"},
            {},
        ],
        ids=["odd", "shell's own", "LC_ALL", "LC_CTYPE", "empty"],
    )
    def test_the_environment_byte_for_byte(self, checkout, shell, env):
        told = ask(*shell, checkout / "scripts/guard", "x", env=env)
        assert told["environ"] == block(env)
        assert told["saved"]
        assert told["arguments"] == ["x"]
        assert list((checkout / ".venv").glob("environ*")) == []

    def test_an_environment_that_another_container_saved_is_left_alone(self, own_checkout, shell):
        # Every exec keeps the pid, which is the file's name; the gate gives time to make it.
        gate = ("sh", "-c", 'read -r _; exec "$@"', "sh")
        with subprocess.Popen(
            [*gate, *shell, own_checkout / "scripts/guard"],
            env=PLAIN,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            theirs = own_checkout / f".venv/environ.{process.pid}"
            theirs.write_bytes(b"THEIRS=1\0")
            told = json.loads(process.communicate(b"\n")[0])
        assert told["saved"]
        assert "THEIRS" not in told["environ"]
        assert theirs.read_bytes() == b"THEIRS=1\0"

    def test_goes_on_without_a_saved_environment(self, own_checkout, shell):
        # A full disk, so to speak.
        limited = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *shell, own_checkout / "scripts/guard")
        told = ask(*limited, "x", env=PLAIN | {b"A": b"1"})
        assert not told["saved"]
        assert told["arguments"] == ["x"]
        assert "A=1\0" in told["environ"]
        assert list((own_checkout / ".venv").glob("environ*")) == []

    def test_the_mask_of_the_caller(self, checkout, shell):
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN})
        try:
            told = ask(*shell, checkout / "scripts/guard")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        assert told["mask"] == [signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN]

    def test_what_the_caller_ignores_stays_ignored(self, checkout, shell):
        ignoring = ("sh", "-c", "trap '' HUP INT QUIT TERM USR1 TSTP TTOU; exec \"$@\"", "sh")
        told = ask(*ignoring, *shell, checkout / "scripts/guard")
        pythons_own = {signal.SIGPIPE, signal.SIGXFSZ}
        assert set(told["ignored"]) - pythons_own == {
            signal.SIGHUP,
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGTERM,
            signal.SIGUSR1,
            signal.SIGTSTP,
            signal.SIGTTOU,
        }

    def test_python_settings_reach_the_target_only(self, checkout, shell, hostile):
        path = os.fsencode(hostile)
        env = PLAIN | {b"PYTHONPATH": path, b"PYTHONHOME": b"/nonexistent", b"PYTHONUSERBASE": path}
        told = ask(*shell, checkout / "scripts/guard", env=env, cwd=hostile)
        assert told["environ"] == block(env)
        assert os.fspath(hostile) not in told["path"]

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "bin/guard", "scripts/setup.py"])
    def test_sets_up_again_when_something_is_newer(self, own_checkout, shell, name):
        (own_checkout / "scripts/setup.py").write_text("import sys; print(len(sys.stdin.read())); sys.exit('no luck')")
        os.utime(own_checkout / "scripts/setup.py", (time.time() - 60,) * 2)
        assert ask(*shell, own_checkout / "scripts/guard", "x")["arguments"] == ["x"]
        os.utime(own_checkout / name, (time.time() + 60,) * 2)
        done = subprocess.run(
            [*shell, own_checkout / "scripts/guard", "x"], env=PLAIN, capture_output=True, input=b"kept"
        )
        assert (done.returncode, done.stdout, done.stderr) == (125, b"", b"0\nno luck\n")

    def test_sets_up_again_when_moved(self, own_checkout, shell):
        (own_checkout / "scripts/setup.py").write_text("import sys; sys.exit('moved')")
        os.utime(own_checkout / "scripts/setup.py", (time.time() - 60,) * 2)
        moved = own_checkout.rename(own_checkout.with_name("moved"))
        done = subprocess.run([*shell, moved / "scripts/guard"], env=PLAIN, capture_output=True)
        assert (done.returncode, done.stderr) == (125, b"moved\n")


class TestBinGuard:
    """Started by an interpreter that is not isolated, as pip's `#!` line does it."""

    @pytest.fixture
    def python(self, checkout):
        return checkout / ".venv/bin/python"

    def test_plain_start_stays_one_start(self, checkout, python):
        env = PLAIN | {b"PYTHONUNBUFFERED": b"1", b"PYTHON_VERSION": b"3.11.7"}
        told = ask(python, checkout / "bin/guard", "x", env=env)
        assert not told["isolated"]
        assert f"{checkout}/bin" not in told["path"]
        assert told["arguments"] == ["x"]

    @pytest.mark.parametrize("locale", [{}, {b"LC_CTYPE": b"C"}, {b"LC_ALL": b"C"}, {b"LC_CTYPE": b"C.utf8"}])
    def test_starts_anew_isolated_for_a_python_variable(self, checkout, python, locale):
        env = PLAIN | ODD | {b"PYTHONPATH": b"/nonexistent"} | locale
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            told = ask(python, checkout / "bin/guard", "a b", "--guard-mask=1", "", env=env)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        assert told["isolated"]
        assert told["arguments"] == ["a b", "--guard-mask=1", ""]
        assert told["mask"] == [signal.SIGUSR2]
        assert told["environ"] == block(env)

    @pytest.mark.skipif(bool(importlib.util.find_spec("sitecustomize")), reason="this Python's own hides any other")
    def test_starts_anew_for_a_sitecustomize(self, own_checkout):
        site_packages = own_checkout / ".venv" / SITE_PACKAGES
        (site_packages / "sitecustomize.py").write_text("import this_came_with_it")
        (site_packages / "this_came_with_it.py").touch()
        told = ask(own_checkout / ".venv/bin/python", own_checkout / "bin/guard")
        assert told["isolated"]
        assert "this_came_with_it" not in told["modules"]

    def test_starts_anew_for_a_directory_of_the_user(self, checkout, tmp_path):
        base = sys._base_executable
        if ask(base, checkout / "bin/guard")["isolated"]:
            pytest.skip(f"{base} has something that makes it start anew in any case")
        (tmp_path / ".local" / SITE_PACKAGES).mkdir(parents=True)
        told = ask(base, checkout / "bin/guard", env=PLAIN | {b"HOME": os.fsencode(tmp_path)})
        assert told["isolated"]

    def test_without_site_it_asks_site_when_a_dependency_is_elsewhere(self, own_checkout):
        command = (own_checkout / ".venv/bin/python", "-IS", own_checkout / "bin/guard")
        site_packages = own_checkout / ".venv" / SITE_PACKAGES
        (site_packages / "sitecustomize.py").write_text("raise SystemExit('sitecustomize ran')")
        assert "site" not in ask(*command)["modules"]
        (site_packages / "psutil").rmdir()
        assert "site" in ask(*command)["modules"]

    def test_a_saved_environment_is_taken_from_private_files_only(self, checkout, python, tmp_path):
        public, link = tmp_path / "public", tmp_path / "link"
        public.write_bytes(b"A=1\0")
        public.chmod(0o644)
        link.symlink_to(public)
        for path in (public, link, tmp_path / "absent", tmp_path):
            told = ask(python, "-IS", checkout / "bin/guard", f"--guard-environ={path}", "x")
            assert (told["saved"], told["arguments"]) == (False, ["x"])
        assert public.exists()


class TestInstalled:
    """bin/guard away from any checkout."""

    @pytest.fixture
    def prefix(self, own_checkout, tmp_path):
        """Where `guard` is a command; the package is still to be put somewhere."""
        prefix = tmp_path / "prefix"
        (prefix / "bin").mkdir(parents=True)
        shutil.copy(own_checkout / "bin/guard", prefix / "bin/guard")
        return prefix

    @pytest.mark.parametrize("flags", [["-IS"], []], ids=["isolated", "plain"])
    @pytest.mark.parametrize("kind", ["site-packages", "dist-packages"])
    @pytest.mark.parametrize("supervisord", [True, False])
    def test_beside_the_command(self, own_checkout, prefix, tmp_path, flags, kind, supervisord):
        library = prefix / Path(SITE_PACKAGES).with_name(kind)
        for name in DEPENDENCIES:
            (library / name).mkdir(parents=True)
        (own_checkout / "supervisor").rename(library / "supervisor")
        if supervisord:
            (library / "supervisor/__init__.py").write_text("raise SystemExit('supervisord')")
        (tmp_path / "guard-link").symlink_to(prefix / "bin/guard")
        for command in (prefix / "bin/guard", tmp_path / "guard-link"):
            told = ask(own_checkout / ".venv/bin/python", *flags, command, "x")
            found = f"{prefix}/bin/../{library.relative_to(prefix)}"
            assert told["package"] == [f"{found}/supervisor"]
            assert found in told["path"]
            assert told["arguments"] == ["x"]

    @pytest.mark.parametrize("flags", [["-IS"], []], ids=["isolated", "plain"])
    def test_beside_the_interpreter(self, own_checkout, prefix, flags):
        (own_checkout / "supervisor").rename(own_checkout / ".venv" / SITE_PACKAGES / "supervisor")
        told = ask(own_checkout / ".venv/bin/python", *flags, prefix / "bin/guard", "x")
        assert told["package"] == [f"{own_checkout}/.venv/bin/../{SITE_PACKAGES}/supervisor"]

    @pytest.mark.parametrize("flags", [["-IS"], []], ids=["isolated", "plain"])
    def test_editable(self, own_checkout, prefix, flags):
        (own_checkout / ".venv" / SITE_PACKAGES / "guard.pth").write_text(f"{own_checkout}\n")
        told = ask(own_checkout / ".venv/bin/python", *flags, prefix / "bin/guard", "x")
        assert told["package"] == [f"{own_checkout}/supervisor"]
        assert told["arguments"] == ["x"]


class TestSetup:
    @pytest.fixture
    def setup(self, own_checkout, monkeypatch):
        """The copy's setup.py; its children are recorded in `ran`, and end as `ends` says."""
        setup = load_setup(own_checkout)
        setup.ran = []
        setup.ends = {}

        def run(command):
            words = [str(word) for word in command]
            setup.ran.append(words)
            kind = "pip" if "pip" in words else "venv" if "venv" in words else "probe"
            good = f"{sys.version}\n" if kind == "probe" else ""
            code, output = setup.ends.get(kind, (0, good))
            return SimpleNamespace(returncode=code, stdout=output)

        monkeypatch.setattr(setup, "run", run)
        (setup.VENV / "bin/guard").write_text(f"#!{setup.PYTHON}\nguard\n")
        (setup.VENV / "pyvenv.cfg").write_text(f"command = python -m venv {setup.VENV}\n")
        return setup

    @staticmethod
    def spoil(setup):
        for dev in (True, False):
            setup.stamp_file(dev).unlink()

    def command_line(self, setup, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["setup.py", *arguments])
        return setup.main()

    @pytest.mark.parametrize("dev", [True, False])
    def test_does_nothing_where_all_is_right(self, setup, dev, capfd):
        for flavour in (True, False):
            os.utime(setup.stamp_file(flavour), (1, 1))
        setup.set_up(dev)
        assert setup.ran == []
        assert setup.stamp_file(dev=False).stat().st_mtime > 1
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("dev", [True, False])
    def test_installs_with_constraints(self, setup, dev, capfd):
        self.spoil(setup)
        setup.set_up(dev)
        *_, pip = setup.ran
        assert pip[1:] == (
            [
                "-I",
                "-m",
                "pip",
                "install",
                "--no-input",
                "-c",
                "constraints.txt",
                "-e",
                ".[dev]" if dev else ".",
            ]
        )
        assert setup.stamp_file(dev=False).read_text() == setup.fingerprint()
        assert setup.stamp_file(dev=True).exists() == dev
        assert (setup.VENV / "bin/guard").read_text() == f"#!{setup.PYTHON} -IS\nguard\n"
        assert capfd.readouterr() == ("", "guard: updating .venv…\nguard: .venv is ready.\n")

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "bin/guard", "scripts/setup.py"])
    def test_installs_again_when_something_changes_and_keeps_the_tests_packages(self, setup, name):
        with (setup.ROOT / name).open("a") as file:
            file.write("\n")
        setup.set_up(dev=False)
        assert setup.ran[-1][-1] == ".[dev]"
        assert setup.stamp_file(dev=True).read_text() == setup.fingerprint()

    @pytest.mark.parametrize("answer", [(1, ""), (0, "3.0.0\n")], ids=["broken", "another"])
    def test_makes_a_venv_anew_that_cannot_be_used(self, setup, answer):
        self.spoil(setup)
        setup.ends["probe"] = answer
        setup.set_up(dev=False)
        assert setup.ran[1][1:] == ["-I", "-m", "venv", "--clear", str(setup.VENV)]

    def test_makes_a_venv_anew_that_was_made_elsewhere(self, setup):
        (setup.VENV / "pyvenv.cfg").write_text("command = python -m venv /elsewhere/.venv\n")
        setup.set_up(dev=False)
        assert setup.ran == []  # the stamp says it is right
        self.spoil(setup)
        setup.set_up(dev=False)
        assert setup.ran[1][1:4] == ["-I", "-m", "venv"]

    def test_a_moved_checkout_is_not_right(self, setup):
        there = load_setup(setup.ROOT.rename(setup.ROOT.with_name("moved")))
        assert not there.ready(there.fingerprint(), dev=False)

    @pytest.mark.parametrize(
        ("kind", "output", "expected"),
        [
            ("pip", "No matching distribution", "next: check the network"),
            ("venv", "ensurepip is not available", "next: apt-get install python3-venv, then python3"),
            ("venv", "No space left", "next: python3"),
        ],
    )
    def test_a_failure_is_explained(self, setup, monkeypatch, capfd, kind, output, expected):
        self.spoil(setup)
        setup.ends = {"probe": (1, ""), kind: (1, output)}
        assert self.command_line(setup, monkeypatch) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert output in err
        assert expected in err
        assert "scripts/setup.py" in err
        assert not setup.stamp_file(dev=False).exists()

    def test_an_unwritable_checkout_is_explained(self, setup, monkeypatch, capfd):
        self.spoil(setup)
        (setup.ROOT / ".venv.lock").mkdir()
        assert self.command_line(setup, monkeypatch) == 1
        assert ".venv.lock" in capfd.readouterr().err

    def test_the_second_of_two_waits_and_finds_it_done(self, own_checkout):
        setup = load_setup(own_checkout)
        self.spoil(setup)
        with (own_checkout / ".venv.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with subprocess.Popen(
                [sys.executable, "-I", own_checkout / "scripts/setup.py"], stderr=subprocess.PIPE
            ) as second:
                assert second.stderr.readline() == "guard: waiting for another set-up of .venv…\n".encode()
                setup.stamp_file(dev=False).write_text(setup.fingerprint())
                fcntl.flock(held, fcntl.LOCK_UN)
                assert second.communicate() == (None, b"")
        assert second.returncode == 0

    @pytest.mark.parametrize(
        "line", ["#!/bin/sh", "#!/elsewhere/bin/python", "#!{python} -IS"], ids=["sh", "elsewhere", "done"]
    )
    def test_leaves_other_first_lines_alone(self, setup, line):
        command = setup.VENV / "bin/guard"
        command.write_text(content := line.format(python=setup.PYTHON) + "\nguard\n")
        setup.isolate(command)
        assert command.read_text() == content

    def test_a_path_too_long_for_a_first_line(self, setup, monkeypatch):
        command = setup.VENV / "bin/guard"
        monkeypatch.setattr(setup, "SHEBANG_LIMIT", len(f"#!{setup.PYTHON} -IS\n") - 1)
        setup.isolate(command)
        assert ask(command, "x")["arguments"] == ["x"]

    def test_a_path_with_a_space(self, setup, monkeypatch):
        command = setup.VENV / "bin/guard"
        monkeypatch.setattr(setup, "PYTHON", Path("/some where/bin/python"))
        command.write_text(f"#!{setup.PYTHON}\nguard\n")
        setup.isolate(command)
        assert ask(command, "x")["arguments"] == ["x"]

    def test_removes_environments_that_were_left(self, setup):
        old, new = (setup.VENV / f"environ.{pid}" for pid in (1, 2))
        for path in (old, new):
            path.touch()
        os.utime(old, (1, 1))
        setup.set_up(dev=False)
        assert (old.exists(), new.exists()) == (False, True)

    def test_pip_is_not_led_elsewhere(self, setup, monkeypatch):
        for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_INDEX_URL"):
            monkeypatch.setenv(name, "x")
        kept = setup.environment()
        assert [name for name in kept if name.startswith(("PYTHONPATH", "PYTHONHOME"))] == []
        assert {"PIP_TARGET", "PIP_PREFIX", "PIP_USER"}.isdisjoint(kept)
        assert kept["PIP_INDEX_URL"] == "x"
