#!/usr/bin/env bash
# Makes a virtual environment: bootstrap.sh PYTHON VENV. Keeps one that is there and works. The one step that cannot be Python.
set -euo pipefail
wanted=$1 venv=$2
is_right() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }

if [ -x "$venv/bin/python" ] && is_right "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then exit 0; fi
python=$(command -v "$wanted" || command -v python3 || true)
if [ -z "$python" ] || ! is_right "$python"; then
  echo "error: Python 3.11 is needed (found: ${python:-none}). Install it, or name it: make PYTHON=/path/to/python3.11 …" >&2
  exit 1
fi
# From an activated environment, possibly the very one that is to be made anew: the interpreter behind it.
python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "    this Python cannot make environments; installing the package python3-venv with apt-get"
    apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
  else
    echo "error: $python cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv) and run make again." >&2
    exit 1
  fi
fi
rm -rf "$venv"
"$python" -m venv "$venv"
