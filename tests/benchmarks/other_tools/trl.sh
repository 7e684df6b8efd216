#!/usr/bin/env bash
# TRL on what gti writes: `bash tests/benchmarks/other_tools/trl.sh WORKSPACE [TABLES]`
#
# WORKSPACE holds semantic IDs and the checkpoint `grounded`. TABLES is the folder of interactions.parquet and
# queries.parquet (default: sample_data). Both stay as they are. Prints rows of the table of tests/benchmarks/README.md.
# PYTHON: the Python that has gti (default: python). TRL_PYTHON: one that has TRL (default: a virtual environment is made).
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
workspace=$1 tables=${2:-$repository/sample_data} python=${PYTHON:-python}
scripts=$repository/tests/benchmarks/other_tools output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
if [ -z "${TRL_PYTHON:-}" ]; then
  "$python" -m venv "$output/venv"
  "$output/venv/bin/pip" install -q 'trl==1.16.0' torch
  TRL_PYTHON=$output/venv/bin/python
fi
expected() {  # CHECKPOINT FOLDER
  PYTHONPATH=$repository "$python" "$scripts/expected_tokens.py" "$workspace" "$tables/interactions.parquet" \
    "$tables/queries.parquet" "$1" "$2" 50 2> "$output/log" || { cat "$output/log" >&2; exit 1; }
}
tokens() {  # CHECKPOINT FOLDER NAME [STEPS]
  "$TRL_PYTHON" "$scripts/trl_tokens.py" "$@" 2> "$output/log" | grep '^|' || { tail -5 "$output/log" >&2; exit 1; }
}
expected "$workspace/grounded" "$output/as-it-is"
tokens "$workspace/grounded" "$output/as-it-is" "the checkpoint's own template" "${STEPS:-20}"
item=$(PYTHONPATH=$repository "$python" -c "
import sys, pyarrow.parquet as pq
print(pq.read_table(sys.argv[1]).column('item_id')[0])" "$workspace/semantic_ids.parquet")
code=0
PYTHONPATH=$repository "$python" -m gti_cli recommend "$output/as-it-is/trained" -w "$workspace" --history "$item" -k 3 -q \
  --json > "$output/list" 2> "$output/log" || code=$?
outcome=$({ grep -o '"item_id"' "$output/list" || true; } | wc -l)
if [ $code = 0 ]; then outcome="$outcome items"; else outcome=$(tail -1 "$output/log"); fi
echo "| TRL | 1.16.0 | what it saved, read by \`gti recommend -k 3\` | $code | $outcome |"

# The same checkpoint with Qwen3's chat template, which writes an empty thought before an answer.
cp -r "$workspace/grounded" "$output/qwen3"
cp "$("$TRL_PYTHON" -c "
import pathlib, trl; print(pathlib.Path(trl.__file__).parent / 'chat_templates' / 'qwen3.jinja')")" \
  "$output/qwen3/chat_template.jinja"
expected "$output/qwen3" "$output/thoughts"
tokens "$output/qwen3" "$output/thoughts" "Qwen3's template"
