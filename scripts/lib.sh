# shellcheck shell=sh
# Sourced by scripts/guard and scripts/test: how both come by .venv.

# guard_set_up ROOT [--dev]: runs scripts/setup.py with a Python that is new enough. Prints on stderr only.
guard_set_up() {
    (
        PATH=${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin
        setup=$1/scripts/setup.py
        shift
        for python in python3 python3.13 python3.12 python3.11 python3.14 python; do
            # Tried for real: a version manager's shim is there for versions that are not.
            if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                exec "$python" -I "$setup" "$@"
            fi
        done
        echo 'guard: no Python 3.11 or newer was found (tried python3, python3.11 to python3.14 and python on PATH).'
        echo '  Debian, Ubuntu: apt-get install python3 python3-venv'
        echo '  Fedora: dnf install python3    Alpine: apk add python3    macOS: brew install python3'
        exit 1
    ) </dev/null >&2
}
