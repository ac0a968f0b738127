"""Leaks at the end of a long chain of calls: `keep_audit_entry`, in many small objects. Argument: MB until it ends."""

import sys

UNTIL_BYTES = int(sys.argv[1] if len(sys.argv) > 1 else 400) * 1_000_000
ENTRIES = 1_500  # about 0.6 MB a request
ENTRY_BYTES = 400
DEPTH = 40

audit_log: list[dict[str, object]] = []


def keep_audit_entry(request: int) -> None:
    for number in range(ENTRIES):
        audit_log.append({"id": request * ENTRIES + number, "who": f"user {request} {number}", "what": [number] * 8})


def authorise(request: int, depth: int) -> None:
    if depth:
        authorise(request, depth - 1)
    else:
        keep_audit_entry(request)


def route(request: int) -> None:
    authorise(request, DEPTH)


def sign_response(request: int) -> int:
    """Pure arithmetic: most of the time, none of the memory."""
    value = request + 1
    for _ in range(80_000):
        value = (value * 48271) % 2147483647
    return value


def serve() -> None:
    request = 0
    while len(audit_log) * ENTRY_BYTES < UNTIL_BYTES:
        sign_response(request)
        route(request)
        request += 1


if __name__ == "__main__":
    serve()
