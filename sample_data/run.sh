#!/usr/bin/env bash
# All stages on the sample shop: semantic IDs, new tokens, fine-tuning from three starts of the new rows (the mean of the old
# rows, rows made of the items' texts, and these rows grounded by GTI) with the same training time, once more with what other
# customers chose next inside the model, evaluation and diagnosis.
#
#   bash sample_data/run.sh [FOLDER]      results go to FOLDER (default: demo); a second run keeps finished stages
#
# STEPS=200: steps of fine-tuning from the first two starts. GTI gets fewer, so that grounding and fine-tuning together take
# the same time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export GTI_WORKSPACE=${1:-demo}
: "${STEPS:=200}"
grounding=90 # steps of fine-tuning that take as long as grounding, on this data
[ "$STEPS" -gt "$grounding" ] || { echo "STEPS=$STEPS: grounding takes as long as $grounding steps; use a larger number" >&2; exit 2; }
# The data and the model are small: no hub and no GPU.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cpu=(--device cpu)
shop=(--interactions "$here/interactions.parquet")

echo "1. Semantic IDs: 3 levels of 64 codes from titles, descriptions, brands and categories"
gti build-ids "$here/items.parquet" --levels 3 --codes 64

echo "2. Add 192 new tokens to the tokenizer and the model: once with rows from the items' texts, once with the usual mean"
gti extend --model "$here/lm" "${cpu[@]}"
gti extend --model "$here/lm" --init mean --name mean-start "${cpu[@]}"

echo "3. Grounding: train the new rows on pairs of text and semantic ID, the model frozen"
gti ground --pairs "$here/titles.parquet" "${cpu[@]}"

echo "4. Fine-tuning from the three starts; the two that were not grounded get more steps, for the same total time"
gti finetune "${shop[@]}" --from mean-start --name mean --max-steps "$STEPS" "${cpu[@]}"
gti finetune "${shop[@]}" --from extended --name text --max-steps "$STEPS" "${cpu[@]}"
gti finetune "${shop[@]}" --from grounded --name gti --max-steps "$((STEPS - grounding))" "${cpu[@]}"

echo "5. The second of these again with a behaviour prior: the model learns what other customers' choices do not tell already"
gti finetune "${shop[@]}" --from extended --name prior --prior item-knn --max-steps "$STEPS" "${cpu[@]}"

echo "6. Evaluation: predict every user's last rental from the rentals before it"
for name in mean text gti; do
  gti evaluate "$name" "${shop[@]}" --k 5,10,20 "${cpu[@]}"
done
gti evaluate prior "${shop[@]}" --k 5,10,20 --compare item-knn "${cpu[@]}"

echo "7. Diagnosis: the new rows before and after fine-tuning"
gti diagnose mean-start extended grounded mean text gti prior --name demo --plot

python "$here/compare.py" "$GTI_WORKSPACE"

echo "8. One page about all of it"
gti report
