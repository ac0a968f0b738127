"""Before the end: histories of bursts."""

from __future__ import annotations

from supervisor import decide
from supervisor.model import ActionEnded, Effect, Event, Hurry, Process, Sample, Start
from supervisor.policy import Level, Policy, State

MIB = 1 << 20
LIMIT = 512 * MIB
POLICY = Policy(tuple(Level(name, "cgroup", None, share) for name, share in
                      (("warning", 0.6), ("critical", 0.75), ("profiling", 0.875))))  # fmt: skip


def reading(at_s: float, use_mib: float, *, state: str = "R", pid: int = 10) -> Sample:
    process = Process(pid, 1, 100 + pid, "app", state, int(use_mib * MIB))
    return Sample(at_s, (process,), int(use_mib * MIB), LIMIT, int(use_mib * MIB), in_cgroup=True)


def play(*samples: Sample, policy: Policy = POLICY) -> tuple[State, list[Effect]]:
    state, effects = State(), []
    for sample in samples:
        decision = decide.decide(state, sample, policy, sample.at_s)
        state = decision.state
        effects += decision.effects
    return state, effects


def frozen(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, Start | Hurry) and effect.freeze]


def test_a_burst_is_stopped_to_be_read_and_nothing_else_starts_meanwhile() -> None:
    _, effects = play(reading(0, 10), reading(0.15, 130), reading(0.3, 250))
    (start,) = frozen(effects)
    assert isinstance(start, Start) and start.kind == "growth" and start.pid == 10
    assert "away at" in start.reason
    assert [effect.kind for effect in effects if isinstance(effect, Start)] == ["growth"]


def test_the_rest_follows_when_it_was_read() -> None:
    _, effects = play(reading(0, 10), reading(0.15, 90), reading(0.3, 390), reading(1.6, 400), reading(1.7, 400))
    assert {effect.kind for effect in effects if isinstance(effect, Start)} == {"growth", "stacks"}


def test_a_slow_leak_is_never_stopped() -> None:
    samples = [reading(second, 100 + second) for second in range(380)]
    _, effects = play(*samples)
    assert not frozen(effects)


def test_growth_that_is_attributed_already_makes_haste() -> None:
    slow = [reading(second, 310 + second) for second in range(4)]
    _, effects = play(*slow, reading(3.1, 395), reading(3.2, 475))
    (hurry,) = frozen(effects)
    assert isinstance(hurry, Hurry) and hurry.kind == "growth" and hurry.pid == 10


def test_it_makes_haste_once_a_second_at_most() -> None:
    slow = [reading(second, 310 + second) for second in range(4)]
    fast = [reading(3 + step / 10, 400 + step * 10) for step in range(1, 10)]
    _, effects = play(*slow, *fast)
    assert len(frozen(effects)) == 1


def test_who_is_stopped_by_others_is_not_frozen() -> None:
    _, effects = play(reading(0, 10), reading(0.15, 90), reading(0.3, 420, state="T"))
    assert not frozen(effects)
    assert any(isinstance(effect, Start) and effect.kind == "growth" for effect in effects)


def test_without_profiling_nobody_is_stopped() -> None:
    policy = Policy(POLICY.levels, profile=False)
    _, effects = play(reading(0, 10), reading(0.15, 90), reading(0.3, 420), policy=policy)
    assert not frozen(effects)


def test_the_budget_holds_but_no_cooldown_holds_back_the_last_chance() -> None:
    spent = State(spent={"growth": 4}, started_s={("growth", "warning"): -5.0})
    state = decide.decide(spent, reading(0, 10), POLICY, 0).state
    state = decide.decide(state, reading(0.15, 90), POLICY, 0.15).state
    decision = decide.decide(state, reading(0.3, 390), POLICY, 0.3)
    assert frozen(list(decision.effects))
    used_up = State(spent={"growth": 5})
    state = decide.decide(used_up, reading(0, 10), POLICY, 0).state
    state = decide.decide(state, reading(0.15, 90), POLICY, 0.15).state
    assert not frozen(list(decide.decide(state, reading(0.3, 390), POLICY, 0.3).effects))


def leakers(
    at_s: float, *, first: float | None = None, second: float | None = None, third: float | None = None
) -> Sample:
    """A front and up to three processes below it, sizes in MiB."""
    sizes = {10: 20.0, 11: first, 12: second, 13: third}
    found = tuple(Process(pid, 1, 100 + pid, "app", "R", int(mib * MIB)) for pid, mib in sizes.items() if mib)
    use = sum(process.rss_bytes or 0 for process in found)
    return Sample(at_s, found, use, 8 * LIMIT, use, in_cgroup=True)


SOME = Policy(tuple(Level(name, "rss", size * MIB) for name, size in
                    (("warning", 100), ("critical", 2000), ("profiling", 3000))))  # fmt: skip


def growths(*events: Sample | tuple[float, ActionEnded], policy: Policy = SOME) -> tuple[list[int], list[str]]:
    """Whose growth was attributed, and what was said where it wasn't."""
    state, pids, said = State(), [], []
    for entry in events:
        now_s, event = entry if isinstance(entry, tuple) else (entry.at_s, entry)
        decision = decide.decide(state, event, policy, now_s)
        state = decision.state
        for effect in decision.effects:
            if isinstance(effect, Start) and effect.kind == "growth":
                pids.append(effect.pid)
            elif isinstance(effect, Event) and effect.name == "action.skipped" and effect.fields["action"] == "growth":
                said.append(str(effect.fields["reason"]))
    return pids, said


FIRST = [leakers(second, first=40 + 20 * second) for second in range(8)]
FIRST_GONE = (9.0, ActionEnded("growth", 11, "ok"))


def test_a_second_leaker_is_followed_when_the_first_has_ended() -> None:
    second = [leakers(10 + second, second=100 + 20 * second) for second in range(4)]
    assert growths(*FIRST, leakers(8.5, second=100), FIRST_GONE, *second) == ([11, 12], [])


def test_who_only_is_large_is_not_followed_anew() -> None:
    """Nor is the one whose growth was attributed and isn't any more: that failed, say."""
    still = [leakers(10 + second, second=120) for second in range(60)]
    assert growths(*FIRST, leakers(8.5, second=120), FIRST_GONE, *still)[0] == [11]
    same = [leakers(10 + second, first=200 + 20 * second) for second in range(60)]
    assert growths(*FIRST, (9.0, ActionEnded("growth", 11, "failed")), *same)[0] == [11]


def test_a_second_leaker_after_a_time_of_peace_is_no_less_followed() -> None:
    """The cooldown of the state is the first one's."""
    peace = [leakers(9 + second) for second in range(20)]
    second = [leakers(30 + second, second=30 + 20 * second) for second in range(8)]
    assert growths(*FIRST, leakers(8.5), FIRST_GONE, *peace, *second) == ([11, 12], [])


def test_one_leaker_after_the_other_is_bounded_and_said_once() -> None:
    second = [leakers(10 + second, second=100 + 20 * second) for second in range(8)]
    third = [leakers(21 + second, third=100 + 20 * second) for second in range(8)]
    late = [leakers(400 + second, third=1100 + 20 * second) for second in range(3)]
    history = [*FIRST, leakers(8.5, second=100), FIRST_GONE, *second, leakers(19.0, third=100),
               (20.0, ActionEnded("growth", 12, "ok")), *third]  # fmt: skip
    pids, said = growths(*history)
    assert pids == [11, 12] and len(said) == 1 and "of the cooldown are left" in said[0]
    assert growths(*history, *late)[0] == [11, 12, 13]
    two = Policy(SOME.levels, max_actions=2)
    assert growths(*history, *late, policy=two)[0] == [11, 12]


def turns(pids: list[int], start_s: float = 21.0) -> list[Sample]:
    """These take turns at growing most, below a front."""
    found = []
    sizes = dict.fromkeys(pids, 100.0)
    for turn in range(6 * len(pids)):
        sizes[pids[turn % len(pids)]] += 60.0
        processes = tuple(Process(pid, 1, 100 + pid, "app", "R", int(mib * MIB)) for pid, mib in sizes.items())
        use = sum(process.rss_bytes or 0 for process in processes)
        found.append(Sample(start_s + turn / 10, processes, use, 100 * LIMIT, use, in_cgroup=True))
    return found


def test_those_that_take_turns_are_passed_over_without_a_flood() -> None:
    """Each is told of once, and of a whole storm of them only the first."""
    used_up = Policy(SOME.levels, max_actions=1)
    before = [*FIRST, leakers(8.5, second=100, third=100), FIRST_GONE]
    pids, said = growths(*before, *turns([12, 13]), policy=used_up)
    assert pids == [11] and len(said) == 2
    pids, said = growths(*before, *turns(list(range(20, 60))), policy=used_up)
    assert pids == [11] and len(said) == 8


def test_processor_time_bounds_what_passes_unseen() -> None:
    wait_s = decide.next_wait(500 * MIB, 0, 5.0)
    cpu_s = decide.cpu_wait(500 * MIB, wait_s)
    assert cpu_s is not None and cpu_s * decide.BURST_BYTES_PER_S <= 250 * MIB
    assert decide.cpu_wait(24 << 30, 5.0) is None  # the timer is quick enough there


def test_a_queued_action_is_not_for_who_has_the_pid_by_then() -> None:
    """What waited for the process 10 is skipped when another has its number."""
    levels = tuple(Level(name, "rss", size * MIB, None) for name, size in (("warning", 40), ("critical", 80)))
    policy = Policy((*levels, Level("profiling", "rss", 120 * MIB, None)))
    state, effects = play(reading(0, 10), reading(5, 130), reading(6, 131), policy=policy)
    assert [effect.kind for effect in effects if isinstance(effect, Start)] == ["growth", "stacks"]
    other = Process(10, 1, 999, "other", "R", 131 * MIB)
    sample = Sample(7.0, (other,), 131 * MIB, LIMIT, 131 * MIB, in_cgroup=True)
    state = decide.decide(state, sample, policy, 7.0).state
    ended = decide.decide(state, ActionEnded("stacks", 10, "ok"), policy, 7.1)
    reasons = {
        effect.fields["action"]: effect.fields["reason"] for effect in ended.effects if isinstance(effect, Event)
    }
    assert reasons == {"cpu-profile": "the process is gone"}
