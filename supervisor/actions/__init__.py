"""What guard does on entering a state: one file an action, run by a short-lived worker (see `work`).

`ways` has the tables of what an action does and who samples, by engine; `trying` goes a row of them until one gives
something. A `task.Task` is what a worker got to do. Actions that read no process are called as their file: `hook`,
`notify`, `pyroscope`, `ship`, `retention`.
"""
