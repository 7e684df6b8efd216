#!/usr/bin/env bash
# All stages on the sample shop: semantic IDs, new tokens, fine-tuning from three starts of the new rows (the mean of the old
# rows, rows made of the items' texts, and these rows grounded by GTI) with the same training time, once more with what other
# customers chose next inside the model, evaluation and diagnosis.
#
#   bash sample_data/run.sh [FOLDER]      results go to FOLDER (default: demo); a second run keeps finished stages
#
# STEPS=200: steps of fine-tuning from the first two starts. GTI gets fewer, so that grounding and fine-tuning together take
# the same time. Two commands run at a time, each on half of the cores: what the second one prints follows when both are done.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export GTI_WORKSPACE=${1:-demo}
: "${STEPS:=200}"
grounding=90 # steps of fine-tuning that take as long as grounding, on this data
[ "$STEPS" -gt "$grounding" ] || { echo "STEPS=$STEPS: grounding takes as long as $grounding steps; use a larger number" >&2; exit 2; }
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((cores + 1) / 2))}
# The data and the model are small: no hub and no GPU.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cpu=(--device cpu)
shop=(--interactions "$here/interactions.parquet")
training=(--valid-sample 500)

# Run two functions at once: `both FIRST SECOND`.
both() {
  local printed
  printed=$(mktemp)
  set -m # the second gets a process group, so that it can be ended with all that it has started
  "$2" > "$printed" 2>&1 &
  local second=$!
  set +m
  # shellcheck disable=SC2064 # the names are those of now
  trap "kill -- -$second 2> /dev/null || true; cat '$printed'; rm -f '$printed'" EXIT
  "$1"
  wait "$second"
  trap - EXIT
  cat "$printed"
  rm -f "$printed"
}

echo "1. Semantic IDs: 3 levels of 64 codes from titles, descriptions, brands and categories"
gti build-ids "$here/items.parquet" --levels 3 --codes 64

echo "2. Add 192 new tokens to the tokenizer and the model: once with rows from the items' texts, once with the usual mean"
extend_by_texts() {
  gti extend --model "$here/lm" "${cpu[@]}"
}
extend_by_mean() {
  gti extend --model "$here/lm" --init mean --name mean-start "${cpu[@]}"
}
both extend_by_texts extend_by_mean

start_from_texts() {
  echo "3. Fine-tuning from the rows made of the items' texts"
  gti finetune "${shop[@]}" --from extended --name text --max-steps "$STEPS" "${training[@]}" "${cpu[@]}"
  echo "4. The same with a behaviour prior: the model learns what other customers' choices do not tell already"
  gti finetune "${shop[@]}" --from extended --name prior --prior item-knn --max-steps "$STEPS" "${training[@]}" "${cpu[@]}"
  echo "5. Evaluation of both: predict every user's last rental from the rentals before it"
  gti evaluate text "${shop[@]}" --k 5,10,20 "${cpu[@]}"
  gti evaluate prior "${shop[@]}" --k 5,10,20 --compare item-knn "${cpu[@]}"
}
start_from_mean_and_ground() {
  echo "6. Fine-tuning and evaluation from the usual mean"
  gti finetune "${shop[@]}" --from mean-start --name mean --max-steps "$STEPS" "${training[@]}" "${cpu[@]}"
  gti evaluate mean "${shop[@]}" --k 5,10,20 "${cpu[@]}"
  echo "7. Grounding: train the new rows on pairs of text and semantic ID, the model frozen"
  gti ground --pairs "$here/titles.parquet" "${cpu[@]}"
  echo "8. Fine-tuning from the grounded rows, and evaluation: the others got more steps, for the same total time"
  gti finetune "${shop[@]}" --from grounded --name gti --max-steps "$((STEPS - grounding))" "${training[@]}" "${cpu[@]}"
  gti evaluate gti "${shop[@]}" --k 5,10,20 "${cpu[@]}"
}
both start_from_texts start_from_mean_and_ground

echo "9. Diagnosis: the new rows before and after fine-tuning"
gti diagnose mean-start extended grounded mean text gti prior --name demo --plot

python "$here/compare.py" "$GTI_WORKSPACE"

echo "10. One page about all of it"
gti report
