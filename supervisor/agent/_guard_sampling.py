"""Python's own `profiling.sampling`, run by the target's interpreter with the command line's words after it.

What it is run for: the program itself writes only the last part of a file's name into its collapsed stacks, and dies
of a locale that isn't there. Here stacks are JSON lines with whole paths, outermost frame first:
`[thread, samples, [[file, line, function], …]]`; the last line is `{"ticks": …, "failed": …, "seconds": …}`. A first,
empty line is written when all is imported, just before the first sample.
"""

import json
import os
import sys

os.environ["LC_ALL"] = "C"

from profiling.sampling import cli, stack_collector


class Whole(stack_collector.CollapsedStackCollector):  # type: ignore[misc]
    """The collapsed stacks, whole."""

    _ticks = _failed = 0
    _seconds = None

    def collect(self, stack_frames, timestamps_us=None):  # type: ignore[no-untyped-def]
        """One reading of all stacks, or several that were equal."""
        self._ticks += len(timestamps_us) if timestamps_us else 1
        super().collect(stack_frames, timestamps_us)

    def collect_failed_sample(self):  # type: ignore[no-untyped-def]
        """One that made no sense."""
        self._failed += 1

    def set_stats(self, *found, **_):  # type: ignore[no-untyped-def]
        """Interval in µs, seconds, rate, …: called at the end."""
        self._seconds = found[1]

    def export(self, filename):  # type: ignore[no-untyped-def]
        """Write what there is."""
        with open(filename, "w", encoding="ascii") as file:
            for (frames, thread), count in self.stack_counter.items():
                file.write(json.dumps([thread, count, frames]) + "\n")
            numbers = {"ticks": self._ticks, "failed": self._failed, "seconds": self._seconds}
            file.write(json.dumps(numbers) + "\n")
        return True


cli.COLLECTOR_MAP["collapsed"] = Whole
output = sys.argv[sys.argv.index("--output") + 1]
with open(output, "w", encoding="ascii") as begun:
    begun.write("\n")
cli.main()
