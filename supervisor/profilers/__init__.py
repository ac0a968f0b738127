"""Tools that look into a process: their command lines, their failures explained, one runner."""
