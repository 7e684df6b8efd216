#!/usr/bin/env bash
# The whole road on the sample shop, as a user would walk it: semantic IDs, new tokens, then fine-tuning from three starts
# (the mean of the old rows, rows made of the items' texts, and those grounded by GTI) on the same budget of time, evaluated
# and diagnosed side by side.
#
#   bash sample_data/run.sh [FOLDER]      results go to FOLDER (default: demo); run it again and finished stages are kept
#
# STEPS=200 of fine-tuning from the starts that cost nothing; GTI gets as many fewer as fit into the time of grounding.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export GTI_WORKSPACE=${1:-demo}
: "${STEPS:=200}"
grounding=90 # steps of fine-tuning that take as long, here
[ "$STEPS" -gt "$grounding" ] || { echo "STEPS=$STEPS: grounding takes as long as $grounding steps, so give more" >&2; exit 2; }
# Everything here is small: neither hub nor GPU is wanted.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cpu=(--device cpu)
shop=(--interactions "$here/interactions.parquet")

echo "1. Semantic IDs: 3 levels of 64 codes from titles, descriptions, brands and categories"
gti build-ids "$here/items.parquet" --levels 3 --codes 64

echo "2. 192 new tokens into the tokenizer and the model: rows from the texts of their items, and the usual mean beside them"
gti extend --model "$here/lm" "${cpu[@]}"
gti extend --model "$here/lm" --init mean --name mean-start "${cpu[@]}"

echo "3. Grounding: the model frozen, the new rows trained on pairs of text and semantic ID"
gti ground --pairs "$here/titles.parquet" "${cpu[@]}"

echo "4. Fine-tuning from all three starts; the time that grounding took goes into more steps for the others"
gti finetune "${shop[@]}" --from mean-start --name mean --max-steps "$STEPS" "${cpu[@]}"
gti finetune "${shop[@]}" --from extended --name text --max-steps "$STEPS" "${cpu[@]}"
gti finetune "${shop[@]}" --from grounded --name gti --max-steps "$((STEPS - grounding))" "${cpu[@]}"

echo "5. Every user's last rental, predicted from those before it"
for name in mean text gti; do
  gti evaluate "$name" "${shop[@]}" --k 5,10,20 "${cpu[@]}"
done

echo "6. The new rows, before and after"
gti diagnose mean-start extended grounded mean text gti --name demo --plot

python "$here/compare.py" "$GTI_WORKSPACE"
