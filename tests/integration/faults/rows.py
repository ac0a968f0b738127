"""All rows: each module puts its own into the table as it is imported."""

from tests.integration.faults import (
    rows_control,
    rows_disk,
    rows_guard,
    rows_limits,
    rows_metrics,
    rows_place,
    rows_probes,
    rows_profiler,
    rows_reactions,
    rows_runtimes,
    rows_ship,
    rows_streams,
    rows_target,
)
from tests.integration.faults.table import GROUPS
from tests.integration.faults.table import ROWS as _ROWS

MODULES = (
    rows_streams,
    rows_disk,
    rows_limits,
    rows_profiler,
    rows_target,
    rows_runtimes,
    rows_metrics,
    rows_reactions,
    rows_probes,
    rows_ship,
    rows_control,
    rows_guard,
    rows_place,
)
ROWS = sorted(_ROWS, key=lambda row: list(GROUPS).index(row.group))
