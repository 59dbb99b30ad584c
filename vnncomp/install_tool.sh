#!/bin/bash
# Set the tool up in a virtual environment of its own, beside this folder.   install_tool.sh v1
# PYTHON names the interpreter (3.11 or newer); PIP_OPTIONS go to pip, for example an --index-url.
set -euo pipefail
[ "${1:-}" = v1 ] || { echo "install_tool.sh: version '${1:-}', expected v1" >&2; exit 1; }
HOME_OF_TOOL=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fits() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && fits "$candidate"; then FOUND=$candidate; break; fi
done
[ -n "${FOUND:-}" ] || { echo "install_tool.sh: no Python 3.11 or newer with venv; name one with PYTHON=" >&2; exit 1; }

"$FOUND" -m venv "$HOME_OF_TOOL/.venv"
# shellcheck disable=SC2086  # options are words
"$HOME_OF_TOOL/.venv/bin/python" -m pip install --quiet ${PIP_OPTIONS:-} -c "$HOME_OF_TOOL/constraints.txt" -e "$HOME_OF_TOOL"
"$HOME_OF_TOOL/.venv/bin/python" -m compileall -q "$HOME_OF_TOOL/verifier"
"$HOME_OF_TOOL/.venv/bin/python" -I -m verifier --version
