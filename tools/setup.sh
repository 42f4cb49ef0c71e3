#!/bin/sh
# Makes the project's environment: the Debian packages that the tests and the demo use (when it may
# install them; else it says what is missing), then a virtual environment with the project in it.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need git git
need svn subversion
need chromium chromium

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing Debian packages:$missing"
        apt-get update -qq || true
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null \
            || echo "Could not install:$missing. What needs them is skipped, and says so."
    else
        echo "Not installed here:$missing. What needs them is skipped, and says so."
    fi
fi

"$PYTHON" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Lockstep needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
             "Name another one: make PYTHON=python3.12 ...")
PY
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
