"""Who of a command's processes an action is about: of a shell, `npm start` and the like what these started."""

from __future__ import annotations

from supervisor.actions.task import Task, Turn
from supervisor.profilers import engine, matters


def who(
    task: Task, found: list[matters.Candidate], *, machine_code: bool = False, begun: bool = False
) -> matters.Candidate | None:
    """Who matters of the processes that were `found`; None while nobody does, or a Node that may not be asked.

    Raises Turn where that is a Node. `begun`: there is something of another one already, to which a Node's can't be
    added.
    """
    chosen = matters.choose(found, machine_code=machine_code)
    if chosen is None or chosen.engine != engine.NODE:
        return chosen
    if begun or not task.spec.get("node_inspector", True):
        return None
    raise Turn(chosen.pid)
