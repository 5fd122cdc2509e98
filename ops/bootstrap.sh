#!/usr/bin/env bash
# Makes an empty virtual environment: bootstrap.sh PYTHON VENV. The one step that cannot be Python.
set -euo pipefail
wanted=$1 venv=$2
python=$(command -v "$wanted" || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
  echo "error: Python 3.11 is needed (found: ${python:-none}). Install it, or name it: make PYTHON=/path/to/python3.11 …" >&2
  exit 1
fi
rm -rf "$venv"
if ! "$python" -m venv "$venv" 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "    this Python cannot make environments; installing the package python3-venv with apt-get"
    apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
    rm -rf "$venv" && "$python" -m venv "$venv"
  else
    echo "error: $python cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv) and run make again." >&2
    exit 1
  fi
fi
