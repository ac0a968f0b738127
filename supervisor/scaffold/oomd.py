"""guard-oomd.socket, .service and .conf: `guard oomd-hook` as systemd starts it, and oomd told to wait for it.

systemd.socket(5), systemd.exec(5), oomd.conf(5) of systemd 260.
"""

from __future__ import annotations

from supervisor.oomd.listening import SOCKET
from supervisor.scaffold.systemd import quoted
from supervisor.scaffold.wish import Wish

TIMEOUT_S = 5
DEADLINE_S = 3


def socket(wish: Wish) -> str:
    """The socket, where oomd looks for hooks: a link there would not do."""
    return f"""\
# sudo cp guard-oomd.socket guard-oomd.service /etc/systemd/system/
# sudo mkdir -p /etc/systemd/oomd.conf.d && sudo cp guard-oomd.conf /etc/systemd/oomd.conf.d/
# sudo systemctl daemon-reload && sudo systemctl enable --now guard-oomd.socket guard-oomd.service
# sudo systemctl restart systemd-oomd
[Unit]
Description=Hook of systemd-oomd for guard

[Socket]
ListenStream={SOCKET}
# oomd has CAP_DAC_OVERRIDE; of others only root may call.
SocketMode=0600
DirectoryMode=0755

[Install]
WantedBy=sockets.target
"""


def service(wish: Wish) -> str:
    """The service: resident, since it is asked when memory is short; it reads all processes, writes its state."""
    words = (wish.guard, "oomd-hook", "--deadline", f"{DEADLINE_S}s")
    return f"""\
[Unit]
Description=Evidence of what systemd-oomd is about to kill, by guard
Requires=guard-oomd.socket
After=guard-oomd.socket

[Service]
Type=exec
ExecStart={" ".join(quoted(word) for word in words)}
# guard runs --profiles-dir /var/lib/guard-oomd
StateDirectory=guard-oomd
StateDirectoryMode=0700
Environment=GUARD_ENV=production
Restart=on-failure
KillMode=mixed

# It is asked when there is no memory: what it has stays, and nobody kills it for more.
MemoryMin=64M
MemoryLow=64M
OOMScoreAdjust=-900
OOMPolicy=continue
ManagedOOMPreference=omit

# To read any process and its program, to continue one that a profiler left stopped, to count page faults.
CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_KILL CAP_PERFMON
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
ProtectClock=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @debug
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def configuration(wish: Wish) -> str:
    """oomd's part: without a timeout it asks nobody."""
    return f"""\
# /etc/systemd/oomd.conf.d/guard-oomd.conf
# Longer than --deadline in guard-oomd.service: guard answers before oomd is tired of waiting.
[OOM]
PrekillHookTimeoutSec={TIMEOUT_S}s
"""
