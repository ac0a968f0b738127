"""What `--heap-agent` puts into the target's own Python: found on that one's path, and importing nothing of guard's."""
