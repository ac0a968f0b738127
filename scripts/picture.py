"""Takes the README's terminal picture from a real run: guard on a real pseudo-terminal, drawn by rich as SVG.

.venv/bin/python scripts/picture.py docs/terminal.svg
"""

import io
import os
import pty
import struct
import sys
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 132, 50
LINE = "scripts/guard run -- python scripts/leak.py"
QUIET = ("config.adjusted",)


def record() -> str:
    """What a person sees in a terminal of this size."""
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GUARD_"))}
        os.chdir(ROOT)
        os.execvpe("scripts/guard", LINE.split(), environ | {"TERM": "xterm-256color", "GUARD_ENV": "development"})
    seen = io.BytesIO()
    try:
        while piece := os.read(terminal, 65536):
            seen.write(piece)
    except OSError:
        pass  # the terminal is gone when its last process is
    os.waitpid(pid, 0)
    return seen.getvalue().decode("utf-8", "replace")


def main() -> None:
    """Write the picture."""
    lines = [line for line in record().replace("\r\n", "\n").splitlines() if not any(word in line for word in QUIET)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {LINE}", style="bold"))
    for line in lines:
        console.print(Text.from_ansi(line.replace(str(ROOT) + "/", "")))
    Path(sys.argv[1]).write_text(console.export_svg(title="guard"))


if __name__ == "__main__":
    main()
