#!/bin/sh
# Makes the project's environment for `make demo` (argument: demo) or for the tests (test): the Debian packages that
# are used, when it may install them, else it says what is missing; then a virtual environment with the project in it.
set -eu
WHAT=${1:-test}
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

say() { echo "setup: $*"; }

# As root, or as somebody who may become root without being asked.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_install() {
    command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}
install() {
    say "installing Debian packages: $*"
    as_root apt-get update -qq >/dev/null 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

good_python() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
if ! good_python "$PYTHON"; then
    for other in python3.14 python3.13 python3.12 python3.11; do
        if good_python "$other"; then PYTHON=$other; break; fi
    done
fi
if ! good_python "$PYTHON"; then
    say "Lockstep needs Python 3.11 or newer, and '$PYTHON' is not. Name another one: make PYTHON=/path/to/python ..."
    exit 1
fi

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need git git
need svn subversion
[ "$WHAT" = demo ] || need chromium chromium
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # several words are meant
    if ! { may_install && install $missing; }; then
        say "not installed here:$missing. What needs them is skipped, and says so."
    fi
fi

if [ ! -x "$VENV/bin/python" ]; then
    say "making the environment $VENV with $("$PYTHON" --version)"
    if ! "$PYTHON" -m venv "$VENV" >/dev/null 2>&1; then
        # Debian keeps the module venv in a package of its own.
        version=$("$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        rm -rf "$VENV"
        { may_install && install "$version"; } || true
        "$PYTHON" -m venv "$VENV" || { say "install $version, then try again"; exit 1; }
    fi
fi

say "installing Lockstep and what it needs (a minute or two at the first time)"
if [ "$WHAT" = demo ]; then target='.'; else target='.[dev]'; fi
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$target"
