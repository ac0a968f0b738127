"""Writes docs/settings.md from the one table of settings; `--check` fails when the page is not the table's."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from supervisor.config import show  # noqa: E402
from supervisor.settings import PRESET, PRESETS, SETTINGS  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"


def page() -> str:
    """The page's text."""
    lines = [
        "# Settings",
        "",
        "Made from the table in `supervisor/settings.py` by `scripts/settings_page.py`. Command line, then environment",
        "variables, then `.env.profiling`, then the environment's preset, then the built-in value; `guard config`",
        "names the source of each. A repeatable option's variable holds values separated by spaces, a switch's",
        "1/0/true/false.",
    ]
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            lines += [
                "",
                f"## {group.capitalize()}",
                "",
                "| option | value | default | variables | |",
                "|---|---|---|---|---|",
            ]
        default = "preset" if setting.default is PRESET else show(setting.name, setting.default)
        variables = ", ".join(f"`{name}`" for name in setting.variables)
        metavar = setting.metavar.replace("|", "\\|") or "–"
        lines.append(f"| `--{setting.name}` | {metavar} | {default} | {variables} | {setting.help} |")
    names = [setting.name for setting in SETTINGS if setting.default is PRESET]
    lines += ["", "## Presets", "", f"| environment | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for environment, preset in PRESETS.items():
        lines.append(f"| {environment} | {' | '.join(show(name, preset.values.get(name)) for name in names)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else f"{PAGE} is old: python {sys.argv[0]}")
    PAGE.write_text(page())
