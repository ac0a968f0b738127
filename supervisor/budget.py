"""What was taken of this command: by this run, and by the runs before it where a crash begins it anew."""

from __future__ import annotations

import os
import time

from supervisor import plan, policy
from supervisor.config import Config
from supervisor.journal import Journal
from supervisor.model import STATES, Start
from supervisor.store import command_name

_WINDOW_S = 3600.0


class Spent:
    """The actions that count, as (kind, state or trigger, when), in `budget.json` for the runs to come."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._name = command_name(journal.command)
        self._actions = self._before()

    def _before(self) -> list[tuple[str, str, float]]:
        """A container that crashes and restarts: what earlier runs took counts, or the disk fills with the same."""
        journal = self._journal
        if journal.store is None or not journal.crashed_before or (os.getpid() != 1 and journal.life == 1):
            return []
        window_s = max(self._config.cooldown, _WINDOW_S)
        return journal.store.spent_before(self._name, journal.started_at - window_s)

    def first_state(self) -> policy.State:
        """Nothing seen yet; budget and cooldowns as earlier runs left them."""
        spent: dict[str, int] = {}
        started_s: dict[tuple[str, str], float] = {}
        for kind, state, at in self._actions:
            account = plan.account(kind, "" if state in STATES else state)
            spent[account] = spent.get(account, 0) + 1
            started_s[kind, state] = self._journal.started_s - max(0.0, self._journal.started_at - at)
        wait_s = min(policy.SHORTEST_WAIT_S, self._config.interval)
        return policy.State(wait_s=wait_s, spent=spent, started_s=started_s)

    def add(self, start: Start) -> None:
        """One began. What was asked for by somebody counts for nothing."""
        store = self._journal.store
        if start.asked or store is None:
            return
        self._actions.append((start.kind, start.trigger or start.state, time.time()))
        try:
            store.note_spent(self._name, self._actions)
        except OSError as error:
            self._journal.trouble("budget.json", error, store.root)
