#!/usr/bin/env bash
# LLaMA-Factory on what gti writes: `bash tests/benchmarks/other_tools/llama_factory.sh WORKSPACE [TABLES]`
#
# WORKSPACE holds semantic IDs and the checkpoint `grounded`. TABLES is the folder of interactions.parquet and
# queries.parquet (default: sample_data). Both stay as they are. Prints rows of the table of tests/benchmarks/README.md.
# PYTHON: the Python that has gti (default: python). FACTORY: the bin folder of one that has LLaMA-Factory (default: a
# virtual environment is made).
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
workspace=$1 tables=${2:-$repository/sample_data} python=${PYTHON:-python}
scripts=$repository/tests/benchmarks/other_tools output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 DISABLE_VERSION_CHECK=1
if [ -z "${FACTORY:-}" ]; then
  "$python" -m venv "$output/venv"
  "$output/venv/bin/pip" install -q 'llamafactory==0.9.5'
  FACTORY=$output/venv/bin
fi
tokens() {  # CHECKPOINT FOLDER NAME
  PYTHONPATH=$repository "$python" "$scripts/expected_tokens.py" "$workspace" "$tables/interactions.parquet" \
    "$tables/queries.parquet" "$1" "$2" 50 2> "$output/log" || { cat "$output/log" >&2; exit 1; }
  "$FACTORY/python" "$scripts/llama_factory_tokens.py" "$@" 2> "$output/log" | grep '^|' ||
    { tail -5 "$output/log" >&2; exit 1; }
}
row() {  # WHAT CODE OUTCOME
  echo "| LLaMA-Factory | 0.9.5 | $1 | $2 | $3 |"
}
moved() {  # EXPORTED
  "$python" "$scripts/exported_rows.py" "$workspace/grounded" "$1" 2>&1 | tail -1
}
# LoRA on the rows that are exactly finetune's, then its export. $1: name; $2: more settings, a line each.
train() {
  cat > "$output/$1.yaml" <<END
model_name_or_path: $output/grounded
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
dataset: prompt-completion
dataset_dir: $output/as-it-is
template: empty
cutoff_len: 4096
max_steps: ${STEPS:-20}
per_device_train_batch_size: 8
learning_rate: 5.0e-4
use_cpu: true
report_to: none
save_strategy: 'no'
output_dir: $output/$1
$2
END
  cat > "$output/$1-export.yaml" <<END
model_name_or_path: $output/grounded
adapter_name_or_path: $output/$1
template: empty
export_dir: $output/$1-exported
infer_dtype: float32
END
  local code=0 outcome=
  "$FACTORY/llamafactory-cli" train "$output/$1.yaml" > "$output/log" 2>&1 || code=$?
  [ $code = 0 ] && { "$FACTORY/llamafactory-cli" export "$output/$1-export.yaml" > "$output/log" 2>&1 || code=$?; }
  if [ $code = 0 ]; then outcome=$(moved "$output/$1-exported"); else outcome=$(grep -v '^ ' "$output/log" | tail -1); fi
  row "LoRA, ${STEPS:-20} steps on prompt-completion, $3, then export in float32" $code "$outcome"
  [ -d "$output/$1-exported" ] || return 0
  code=0
  PYTHONPATH=$repository "$python" -m gti_cli recommend "$output/$1-exported" -w "$workspace" --history "$item" -k 3 -q \
    --json > "$output/list" 2> "$output/log" || code=$?
  outcome="$({ grep -o '"item_id"' "$output/list" || true; } | wc -l) items"
  row "its export ($3), read by \`gti recommend -k 3\`" $code "$outcome$(sed 's/^/; /' "$output/log" | tr '\n' ' ' |
    sed "s#$output/##g; s# *\$##")"
}
tokens "$workspace/grounded" "$output/as-it-is" "the checkpoint's own template"
item=$("$python" -c "
import sys, pyarrow.parquet as pq
print(pq.read_table(sys.argv[1]).column('item_id')[0])" "$workspace/semantic_ids.parquet")
# In float32: in a float16 checkpoint LLaMA-Factory fails on a CPU, because additional_target is trained in float32.
"$FACTORY/python" - "$workspace/grounded" "$output/grounded" > "$output/log" 2>&1 <<'END'
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).save_pretrained(sys.argv[2])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
END
train plain "" "as it is"
train rows "additional_target: embed_tokens" "additional_target: embed_tokens"

# The same checkpoint with a chat template that writes an empty thought before an answer, as Qwen3's does.
cp -r "$workspace/grounded" "$output/qwen3"
cat > "$output/qwen3/chat_template.jinja" <<'END'
{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}
END
tokens "$output/qwen3" "$output/thoughts" "Qwen3's thoughts"
