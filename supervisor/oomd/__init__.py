"""`guard oomd-hook`: evidence before systemd-oomd kills.

`hook` serves the sockets (`listening`) in what oomd speaks (`varlink`, pure), and gives each kill a process: `prekill`.
"""
