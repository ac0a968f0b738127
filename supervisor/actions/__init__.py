"""What guard does on entering a state: one file an action, run by a short-lived worker (see `work`)."""
