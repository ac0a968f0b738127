"""What `guard prune` tells: of a place that isn't there yet, and of one that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import inspect_config, pruning
from supervisor.errors import UsageError


def test_where_nothing_is_yet_there_is_nothing_to_prune(tmp_path: Path) -> None:
    root = str(tmp_path / "profiles")
    done = pruning.prune(root, 1, 1.0, 1, dry_run=False, may_be_absent=True)
    assert pruning.text(done) == f"nothing to prune: there is no {root} yet"
    assert pruning.document(done)["removed"] == []
    with pytest.raises(UsageError, match="can't be opened"):
        pruning.prune(root, 1, 1.0, 1, dry_run=False)


def test_config_names_the_nearest_setting() -> None:
    found = inspect_config.document({}, {"GUARD_WARNIGN": "1", "GUARD_QQQQQQQ": "1"})
    text = inspect_config.text(found)
    assert "unknown: GUARD_WARNIGN isn't a setting of guard's; the nearest is GUARD_WARNING\n" in text
    assert "unknown: GUARD_QQQQQQQ isn't a setting of guard's\n" in text
