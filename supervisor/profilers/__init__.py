"""Ways to look into a process: command lines, failures explained, one runner.

- `engine` tells from a process's program whether it is a Python, a Node, a Bun, a Java or something else, `interpreter`
  which Python; `matters` who of a command's processes counts; `permission` what a container or a kernel refuses.
- Stacks and samples: `pyspy`, `stdlib` (3.15's own), `native` and `elf` (machine code, unwound), `native_cpu`, `java`,
  `kernel` (where any thread waits). `pace` plans the next slice of a profile by what samples cost, `recorder` runs it;
  `pyspy_cpu` and `stdlib_cpu` are Python's.
- `perf`, `go_cpu` with `gopprof`, `rbspy`, `dotnet` are a tool each. Which of all these samples a process: see
  `actions.ways`.
- Growth: `faults` catches a thread at the page fault that takes memory (a perf event counts faults and sends a signal
  that guard's tracer swallows), `syscalls` at the system call, where that is refused; `tracing`
  holds the thread and lets it go; `traps` is what they have in common.
- Heap: `agent` asks what was prepared at launch, `remote` and `runtime` visit a 3.14+ that wasn't, `memray` attaches.
- Node: `inspector` is a session with a running one (open, watch, let go), `node` tells what it lets in.
- `lent`: reading what only the watcher may read; `runner` runs a tool, bounded in time and output; `tool`
  finds one that isn't guard's and names its failures.
"""
