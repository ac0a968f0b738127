"""What guard does on entering a state: one file an action, run by a short-lived worker (see `work`).

`ways` is the one table of what an action does for which engine; a `task.Task` is what a worker got to do. Actions that
read no process are called as their file: `hook`, `notify`, `pyroscope`, `ship`, `retention`.
"""
