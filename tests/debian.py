"""The Debian mirror that this machine uses, for packages that tests unpack elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache


@cache
def mirror() -> list[str]:
    """The last arguments for mmdebstrap: the mirror that apt is set up with, or none, for its own."""
    if shutil.which("apt-get") is None:
        return []
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    return [site for site in done.stdout.split() if site.rstrip("/").endswith("/debian")][:1]
