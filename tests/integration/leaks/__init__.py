"""Programs that leak, each beside an innocent function that uses more processor time, and who the culprit is."""

LEAKS = {
    "background_thread": "collect_metrics",
    "deep_call": "keep_audit_entry",
    "generator_callback": "parse_records",
    "listener_list": "subscribe",
    "lru_cache_method": "describe",
    "numpy_buffers": "keep_frame",
}
