#!/usr/bin/env bash
# What a GPU brings, in at most eight minutes: grounding, fine-tuning, search and the constraint step, each beside a peer.
#
#   bash tests/benchmarks/gpu.sh                       # on a machine with one GPU
#   bash tests/benchmarks/gpu.sh --tiny --device cpu   # the same way on small models: is everything ready?
#
# PYTHON names the interpreter (default: python) with gti, its extra "lora" and a torch for the card; nothing is fetched.
# OUT names the folder of the results, gpu.jsonl and gpu.md (default: a new one). A part that fails or takes too long
# leaves the rows that it has printed, and does not stop the others. SCALE=5 makes the limits five times as long.
set -u
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python}
out=${OUT:-$(mktemp -d)}
rows=$out/gpu.jsonl
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$out" && : > "$rows" || exit 1

failed=0
part() { # NAME SECONDS OPTIONS...
    local name=$1 limit=$(($2 * ${SCALE:-1})) code
    shift 2
    timeout "$limit" "$python" -m "tests.benchmarks.gpu.$name" "$@" >> "$rows"
    code=$?
    if [ "$code" -ne 0 ]; then
        failed=1
        printf '{"part": "%s", "what": "stopped: exit code %s, limit %s s"}\n' "$name" "$code" "$limit" >> "$rows"
    fi
}

part constraint 60 "$@"
part grounding 130 "$@"
part training 150 "$@"
part search 120 "$@"
"$python" -m tests.benchmarks.gpu.table "$rows" | tee "$out/gpu.md"
echo "rows: $rows"
exit "$failed"
