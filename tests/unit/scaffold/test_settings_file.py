"""`.env.profiling` is the table's: every setting, a value that its parser takes, what was set before."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import envfile
from supervisor.scaffold import settings_file
from supervisor.settings import PRESET, PRESETS, SETTINGS, Setting

ROOT = Path(__file__).resolve().parents[3]
SHOWN = [setting for setting in SETTINGS if setting.name != "env-file" and not setting.trusted]


def assignments(text: str) -> dict[str, envfile.Entry]:
    """What the file would set with every # of an assignment taken away."""
    lines = [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in text.splitlines()]
    return envfile.parse("\n".join(lines).encode(), "made")


def test_the_checkouts_own_file_is_what_guard_init_writes() -> None:
    """When this fails: scripts/guard init --force"""
    text = (ROOT / ".env.profiling").read_text()
    assert text == settings_file.render({})


def test_nothing_is_set_and_every_setting_is_there_once() -> None:
    text = settings_file.render({})
    assert envfile.parse(text.encode(), "made") == {}
    names = [settings_file.variable(setting) for setting in SHOWN]
    assert list(assignments(text)) == names
    assert all(text.count(f"\n#{name}=") == 1 for name in names)
    assert all(f"\n# {setting.help}\n" in text for setting in SHOWN)
    assert max(map(len, text.splitlines())) <= 160


@pytest.mark.parametrize("setting", SHOWN, ids=[setting.name for setting in SHOWN])
def test_what_is_shown_is_what_holds(setting: Setting) -> None:
    """Uncommented, a line changes nothing: its value is the default's. Where there is none it is an example."""
    shown = assignments(settings_file.render({}))[settings_file.variable(setting)]
    if not shown.value and setting.default in (None, ()):
        return
    words = shown.value.split() if setting.repeat else [shown.value]
    read = [setting.parse(word) for word in words]
    if setting.default is PRESET:
        value = PRESETS["development"].values[setting.name]
        assert read[0] == (pytest.approx(value) if isinstance(value, float) else value)
    elif setting.default not in (None, ()):
        assert (tuple(read) if setting.repeat else read[0]) == setting.default


@pytest.mark.parametrize("environment", ["development", "production", "ci"])
def test_every_preset_is_written_as_it_is_read(environment: str) -> None:
    for setting in SHOWN:
        if setting.default is PRESET:
            value = PRESETS[environment].values[setting.name]
            read = setting.parse(settings_file.written(setting, value))
            assert read == (pytest.approx(value) if isinstance(value, float) else value)


@given(st.dictionaries(st.sampled_from(SHOWN), st.text(st.characters(exclude_characters="\0\r", codec="utf-8"))))
def test_what_a_file_sets_stays_set(values: dict[Setting, str]) -> None:
    given_lines = [f"{setting.variables[0]}={shlex.quote(value)}" for setting, value in values.items()]
    entries = envfile.parse("\n".join(given_lines).encode(), "old")
    again = envfile.parse(settings_file.render(entries).encode(), "new")
    assert {name: entry.value for name, entry in again.items()} == {
        setting.variables[0]: value for setting, value in values.items()
    }
    assert settings_file.render(again) == settings_file.render(entries)


def test_a_shell_reads_the_file_as_guard_does(tmp_path: Path) -> None:
    text = settings_file.render({})
    whole = "".join(line[1:] if line.startswith("#") and line[1:2] != " " else line for line in text.splitlines(True))
    (tmp_path / "whole").write_text(whole)
    names = [settings_file.variable(setting) for setting in SHOWN]
    script = f". {tmp_path / 'whole'}; " + " ".join(f'printf "%s\\n" "${name}";' for name in names)
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    entries = envfile.parse(whole.encode(), "whole")
    assert done.stdout.splitlines() == [entries[name].value for name in names]


def test_what_is_set_is_called_no_example() -> None:
    text = settings_file.render(envfile.parse(b"GUARD_CPU_THRESHOLD=80%\n", "made"))
    about = text[: text.index("\nGUARD_CPU_THRESHOLD=80%")].splitlines()
    assert "example" not in "".join(about[about.index("") :][-2:]) and "this is an example" in text


def test_each_group_stands_in_one_place() -> None:
    """`guard config`, docs/settings.md and the file have a heading where the group changes."""
    groups = [setting.group for setting in SETTINGS]
    changes = [group for before, group in zip(["", *groups], groups, strict=False) if before != group]
    assert len(changes) == len(set(changes))
