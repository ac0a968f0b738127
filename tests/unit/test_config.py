from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import cgroup, config, envfile, thresholds
from supervisor.config import Config
from supervisor.errors import UsageError
from supervisor.facts import Facts
from supervisor.settings import LEVELS

GB, MB = 10**9, 10**6


def facts(
    limit: int = 64 * GB,
    *,
    cgroup_limit: bool = False,
    cores: float = 8,
    container: str | None = None,
    terminal: bool = True,
    high: int | None = None,
) -> Facts:
    return Facts(
        limit_bytes=limit,
        limit_source="cgroup v2 /sys/fs/cgroup/x" if cgroup_limit else "machine",
        memory_bytes=64 * GB,
        cores=cores,
        container=container,
        terminal=terminal,
        place=cgroup.Place([], 2, [], 2),
        high=cgroup.High(high, 0, 0, "/sys/fs/cgroup/x") if high is not None else None,
    )


def resolve(
    given: dict[str, str] | None = None, environ: dict[str, str] | None = None, file: str = "", **more: Any
) -> Config:
    entries = envfile.parse(file.encode(), ".env.profiling")
    nested = more.pop("nested", False)
    texts = {name: [text] for name, text in (given or {}).items()}
    return config.resolve(texts, environ or {}, entries, more.pop("facts", None) or facts(**more), nested=nested)


def sizes(resolved: Config) -> list[int]:
    return [level.size_bytes for level in resolved.levels]


def test_order_of_sources() -> None:
    environ = {"GUARD_WARNING": "2", "MEMORY_WARNING_THRESHOLD": "3"}
    file = "GUARD_WARNING=4\nMEMORY_CRITICAL_THRESHOLD=300\n"
    resolved = resolve({"warning": "1"}, environ, file)
    assert (resolved.warning.size_bytes, resolved.values["warning"].origin) == (1 * MB, "--warning")
    resolved = resolve({}, environ, file)
    assert (resolved.warning.size_bytes, resolved.values["warning"].origin) == (2 * MB, "GUARD_WARNING")
    resolved = resolve({}, {"MEMORY_WARNING_THRESHOLD": "3"}, file)
    assert (resolved.warning.size_bytes, resolved.values["warning"].source) == (3 * MB, "environment")
    resolved = resolve({}, {}, file)
    assert (resolved.warning.size_bytes, resolved.values["warning"].origin) == (
        4 * MB,
        "GUARD_WARNING in .env.profiling, line 1",
    )
    assert resolved.values["critical"].origin == "MEMORY_CRITICAL_THRESHOLD in .env.profiling, line 2"
    resolved = resolve()
    assert (resolved.warning.size_bytes, resolved.values["warning"].source) == (128 * MB, "preset")


@pytest.mark.parametrize(
    ("environ", "more", "name"),
    [
        ({}, {}, "development"),
        ({"GUARD_ENV": "production", "APP_ENV": "dev"}, {}, "production"),
        ({"APP_ENV": "staging", "NODE_ENV": "production"}, {}, "production"),
        ({"PYTHON_ENV": "prod"}, {"container": None}, "production"),
        ({"CI": "true"}, {}, "ci"),
        ({"CI": "false"}, {}, "development"),
        ({"GITHUB_ACTIONS": "true", "CI": "true"}, {"container": "/.dockerenv", "terminal": False}, "ci"),
        ({"ENVIRONMENT": "development", "CI": "1"}, {}, "development"),
        ({}, {"container": "/.dockerenv", "terminal": False}, "production"),
        ({}, {"container": "/.dockerenv", "terminal": True}, "development"),
    ],
)
def test_environment(environ: dict[str, str], more: dict[str, Any], name: str) -> None:
    resolved = resolve({}, environ, **more)
    assert resolved.env == name
    assert resolved.detected.evidence


def test_environment_is_strict() -> None:
    with pytest.raises(UsageError, match="GUARD_ENV='staging'"):
        resolve({}, {"GUARD_ENV": "staging"})


def test_the_file_sets_the_environment_too() -> None:
    assert resolve({}, {}, "GUARD_ENV=ci").env == "ci"


@pytest.mark.parametrize(
    ("env", "values"),
    [
        ("development", (1e-4, 200_000, True, True, 0.10, [128, 256, 512])),
        ("production", (2e-3, 50_000, False, False, 0.03, [512, 1024, 2048])),
        ("ci", (5e-4, 75_000, True, False, 0.05, [384, 768, 1536])),
    ],
)
def test_presets(env: str, values: tuple[Any, ...]) -> None:
    r = resolve({"env": env})
    got = (r.sampling_interval, r.max_samples, r.source_locations, r.library_frames, r.overhead_budget)
    assert got == pytest.approx(values[:5])
    assert [size // MB for size in sizes(r)] == values[5]


def test_the_seeds_names() -> None:
    resolved = resolve(
        {}, {"BUN_CPU_PROF_SAMPLING_INTERVAL": "700", "BUN_CPU_PROF_MAX_SAMPLES": "9", "BUN_HEAP_PROF_INTERVAL": "2048",
             "BUN_PRESERVE_SOURCE_LOCATIONS": "false", "MEMORY_CHECK_INTERVAL": "250"}
    )  # fmt: skip
    assert resolved.sampling_interval == pytest.approx(7e-4)
    assert (resolved.max_samples, resolved.heap_interval, resolved.source_locations, resolved.interval) == (
        9,
        2048,
        False,
        0.25,
    )


def test_little_memory_and_few_cores_change_only_what_nobody_chose() -> None:
    small = facts(1900 * MB, cores=2)
    resolved = resolve({}, {}, facts=small)
    assert (resolved.max_samples, resolved.sampling_interval) == (100_000, pytest.approx(2e-4))
    assert {change["setting"] for change in resolved.adjusted} == {"max-samples", "sampling-interval"}
    chosen = resolve({"max-samples": "5"}, {"CPU_PROF_SAMPLING_INTERVAL": "100"}, facts=small)
    assert (chosen.max_samples, chosen.sampling_interval, chosen.adjusted) == (5, pytest.approx(1e-4), ())


def test_defaults_that_cannot_be_reached_move_together() -> None:
    resolved = resolve(limit=400 * MB, cgroup_limit=True)
    assert sizes(resolved) == [240 * MB, 300 * MB, 350 * MB]
    assert [level.metric for level in resolved.levels] == ["cgroup"] * 3
    moved = [change for change in resolved.adjusted if change["setting"] in LEVELS]
    assert len(moved) == 3 and "limit of 400 MB" in moved[0]["reason"]


def test_an_explicit_one_that_cannot_is_an_error_naming_the_limit() -> None:
    with pytest.raises(UsageError) as caught:
        resolve({"profiling": "500MB"}, limit=400 * MB, cgroup_limit=True)
    assert "400 MB" in caught.value.why and "--profiling" in caught.value.what


def test_percentages_are_held_against_the_cgroup_where_there_is_a_limit() -> None:
    given = {"warning": "60%", "critical": "700MB", "profiling": "90%"}
    assert [level.metric for level in resolve(given, limit=GB, cgroup_limit=True).levels] == ["cgroup", "rss", "cgroup"]
    assert [level.metric for level in resolve(given, limit=GB).levels] == ["rss", "rss", "rss"]
    assert [level.metric for level in resolve({**given, "metric": "pss"}, limit=GB, cgroup_limit=True).levels] == [
        "pss"
    ] * 3


def test_falling_thresholds() -> None:
    with pytest.raises(UsageError, match="thresholds must rise"):
        resolve({"warning": "300", "critical": "200"})
    with pytest.raises(UsageError, match="thresholds must rise"):
        resolve({"warning": "80%", "profiling": "100"})


def test_defaults_step_aside_for_an_explicit_one() -> None:
    for chosen in (
        {"warning": "600"},
        {"profiling": "50"},
        {"critical": "100"},
        {"warning": "100", "profiling": "110"},
        {"critical": "900"},
    ):
        resolved = resolve(chosen)
        assert sizes(resolved) == sorted(set(sizes(resolved)))
        for name, text in chosen.items():
            assert resolved.values[name].value.size_bytes == int(text) * MB


@given(
    st.dictionaries(
        st.sampled_from(LEVELS), st.one_of(st.integers(1, 3000).map(str), st.integers(1, 99).map(lambda n: f"{n}%"))
    ),
    st.integers(8, 5000),
)
def test_thresholds_rise_below_the_limit_or_are_refused(given: dict[str, str], limit_mb: int) -> None:
    try:
        resolved = resolve(given, limit=limit_mb * MB, cgroup_limit=True)
    except UsageError:
        assert given  # defaults alone are never refused
    else:
        assert sizes(resolved) == sorted(set(sizes(resolved)))
        assert sizes(resolved)[-1] < limit_mb * MB


def test_bad_values_name_variable_source_value_and_what_is_accepted() -> None:
    with pytest.raises(UsageError) as caught:
        resolve({}, {"MEMORY_CHECK_INTERVAL": "soon"})
    assert "MEMORY_CHECK_INTERVAL='soon' in the environment" in caught.value.what
    assert "such as 5s" in caught.value.why
    with pytest.raises(UsageError) as caught:
        resolve({}, {}, "X=1\nMEMORY_CHECK_INTERVAL=soon\n")
    assert "in .env.profiling, line 2" in caught.value.what


def test_nothing_is_expanded() -> None:
    with pytest.raises(UsageError, match="touch x"):
        resolve({}, {}, "GUARD_WARNING=$(touch x)")
    assert resolve({}, {}, "SOMETHING_ELSE=$(touch x)").env == "development"


def test_unknown_and_injected_names() -> None:
    environ = {
        "GUARD_WARNNG": "1", "GUARD_EVENT_STATE": "x", "GUARD_PORT": "tcp://10.0.0.1:80",
        "GUARD_SERVICE_HOST": "10.0.0.1",
        "GUARD_PORT_80_TCP_ADDR": "10.0.0.1", "GUARD_INTERVAL": "tcp://10.0.0.1:80",
    }  # fmt: skip
    resolved = resolve({}, environ)
    assert resolved.unknown == ("GUARD_WARNNG",)
    assert resolved.interval == 5


def test_a_guard_below_another_leaves_its_variables_alone() -> None:
    environ = {"GUARD_INTERVAL": "1s", "GUARD_ENV": "ci", "GUARD_PROFILES_DIR": "/x"}
    environ["MEMORY_WARNING_THRESHOLD"] = "7"
    resolved = resolve({}, environ, nested=True)
    assert (resolved.interval, resolved.env, resolved.profiles_dir) == (5, "ci", "/x")
    assert resolved.warning.size_bytes == 7 * MB
    assert resolved.ignored == ("GUARD_INTERVAL",)


def test_repeatable_options_and_switches_in_variables() -> None:
    resolved = resolve({}, {"GUARD_REWRITE_SIGNAL": "15:3 TERM:0", "GUARD_WATCH": "false", "GUARD_REMAP_EXIT": "143:0"})
    assert resolved.rewrite_signal == ((15, 3), (15, 0))
    assert resolved.remap_exit == ((143, 0),)
    assert resolved.watch is False


def metrics(resolved: Config) -> list[str]:
    return [level.metric for level in resolved.levels]


def test_defaults_move_below_memory_high_where_the_tree_would_crawl() -> None:
    resolved = resolve({}, {"GUARD_ENV": "production"}, limit=4 * GB, cgroup_limit=True, high=1 * GB)
    assert sizes(resolved) == [600 * MB, 750 * MB, 875 * MB]
    assert metrics(resolved) == ["cgroup"] * 3
    assert "memory.high of 1 GB" in resolved.adjusted[-1]["reason"]
    beyond = resolve({}, {"GUARD_ENV": "production"}, limit=4 * GB, cgroup_limit=True, high=3 * GB)
    assert sizes(beyond) == [512 * MB, 1024 * MB, 2048 * MB]


def test_an_explicit_threshold_beyond_memory_high_is_accepted() -> None:
    resolved = resolve({"profiling": "2GB"}, {"GUARD_ENV": "production"}, limit=4 * GB, cgroup_limit=True, high=1 * GB)
    assert sizes(resolved)[2] == 2 * GB
    assert sizes(resolved)[:2] == [600 * MB, 750 * MB]


def under(resolved: Config, limit: int, high: int | None = None) -> tuple[list[int], list[str]]:
    levels, beyond = thresholds.levels_under(resolved, limit, high, True)
    return [level.size_bytes for level in levels], beyond


def test_a_limit_that_changes_moves_shares_and_defaults() -> None:
    resolved = resolve({}, {"GUARD_ENV": "production"}, limit=64 * GB)
    assert under(resolved, 1 * GB) == ([600 * MB, 750 * MB, 875 * MB], [])
    assert under(resolved, 8 * GB) == ([512 * MB, 1024 * MB, 2048 * MB], [])
    assert under(resolved, 8 * GB, 1 * GB)[0] == [600 * MB, 750 * MB, 875 * MB]
    moved = resolve({}, {"GUARD_ENV": "production"}, limit=1 * GB, cgroup_limit=True)
    assert under(moved, 64 * GB)[0] == [512 * MB, 1024 * MB, 2048 * MB]  # back to where they began
    shares = resolve({"warning": "50%", "critical": "60%", "profiling": "90%"}, limit=8 * GB, cgroup_limit=True)
    assert under(shares, 1 * GB) == ([500 * MB, 600 * MB, 900 * MB], [])


def test_a_limit_below_explicit_thresholds_is_no_error_under_way() -> None:
    resolved = resolve({"warning": "100", "critical": "200", "profiling": "500"}, limit=8 * GB, cgroup_limit=True)
    assert under(resolved, 300 * MB) == ([100 * MB, 200 * MB, 500 * MB], ["profiling"])
    mixed = resolve({"warning": "100", "critical": "50%"}, limit=8 * GB, cgroup_limit=True)
    sizes_now, beyond = under(mixed, 150 * MB)  # 100 and 75 MB no longer rise: those of the start stay
    assert (sizes_now, beyond) == ([level.size_bytes for level in mixed.levels], [])
