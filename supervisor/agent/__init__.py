"""What `--heap-agent` puts into the target's own Python: found on that one's path, and importing nothing of guard's.

`_guard_agent` is the thread, its socket and forks, `_guard_census` counts, `_guard_chain` finds holders; `_guard_visit`
runs in a 3.14+ that was not prepared, `_guard_sampling` in a 3.15+ that profiles. `profilers/agent` is the other end.
"""
