#!/bin/bash
# Answer one instance.   run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT
# The category is not looked at: one automatic strategy, chosen from the network, the property and the machine.
# Start-up counts, so that the limit is the whole process's; a counterexample is written only after onnxruntime on the
# CPU has computed its outputs and the property holds of them exactly.
set -uo pipefail
[ "${1:-}" = v1 ] || { echo "run_instance.sh: version '${1:-}', expected v1" >&2; exit 1; }
[ $# -ge 6 ] || { echo "run_instance.sh: v1 CATEGORY ONNX VNNLIB RESULTS TIMEOUT are due" >&2; exit 1; }
HOME_OF_TOOL=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ONNX=$3 VNNLIB=$(realpath "$4") RESULTS=$(realpath -m "$5") TIMEOUT=$6
rm -f "$RESULTS"
case "$ONNX" in
    \[*)  # several networks: their files may be written from the folder of the benchmark
        FIRST=$(printf '%s' "$ONNX" | sed -E "s/^[^,]*,[[:space:]]*['\"]([^'\"]*)['\"].*/\1/")
        [ -e "$FIRST" ] || cd "$(dirname "$(dirname "$VNNLIB")")" || exit 1 ;;
esac
# If ever the limit inside should not hold, the one outside does.
timeout --signal=KILL "$(awk "BEGIN { print $TIMEOUT + 5 }")" \
    "$HOME_OF_TOOL/.venv/bin/python" -I -m verifier verify "$ONNX" "$VNNLIB" \
    --timeout "$TIMEOUT" --results "$RESULTS" --accept-real --quiet > /dev/null
STATUS=$?
[ -s "$RESULTS" ] || echo error > "$RESULTS"
exit $STATUS
