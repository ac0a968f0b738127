"""Takes the picture of the report that docs/report.md shows: a real run, its page in a headless Chromium.

.venv/bin/python scripts/picture_report.py docs/report.png
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZE = "1000,1500"
OPTIONS = ("--env", "development", "--interval", "500ms", "--quiet")


def guard(*arguments: str) -> None:
    """A guard command in the project's directory, without settings of the outside."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GUARD_", "MEMORY_"))}
    subprocess.run(["scripts/guard", *arguments], cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Write the picture."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    picture = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as place:
        profiles = f"{place}/profiles"
        guard("run", "--profiles-dir", profiles, *OPTIONS, "--", "python", "scripts/leak.py")
        page = Path(place, "report.html")
        guard("report", "--profiles-dir", profiles, "--output", str(page))
        # Nothing of the machine it was taken on.
        page.write_text(page.read_text().replace(f"{ROOT}/", "").replace(place, "/srv/app"))
        flags = f"--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size={SIZE} --screenshot={picture}"
        subprocess.run(
            [chromium, *flags.split(), f"--user-data-dir={place}/browser", page.as_uri()],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    main()
