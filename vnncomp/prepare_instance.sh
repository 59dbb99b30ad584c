#!/bin/bash
# Make ready for one instance: nothing is analysed.   prepare_instance.sh v1 CATEGORY ONNX VNNLIB
# What an earlier instance may have left behind ends with its own time limit; nothing is killed by name.
set -uo pipefail
[ "${1:-}" = v1 ] || { echo "prepare_instance.sh: version '${1:-}', expected v1" >&2; exit 1; }
[ $# -ge 4 ] || { echo "prepare_instance.sh: v1 CATEGORY ONNX VNNLIB are due" >&2; exit 1; }
HOME_OF_TOOL=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ONNX=$3 VNNLIB=$4

[ -r "$VNNLIB" ] || { echo "prepare_instance.sh: $VNNLIB: cannot be read" >&2; exit 1; }
case "$ONNX" in
    \[*) ;;  # several networks
    *) [ -r "$ONNX" ] || { echo "prepare_instance.sh: $ONNX: cannot be read" >&2; exit 1; }
       cat "$ONNX" > /dev/null ;;
esac
cat "$VNNLIB" > /dev/null
# The program and its libraries are in memory when the clock starts.
"$HOME_OF_TOOL/.venv/bin/python" -I -c 'import onnx, onnxruntime, verifier.run.verify' 2>/dev/null
exit 0
