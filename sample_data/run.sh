#!/usr/bin/env bash
# The whole road on the sample shop, as a user would walk it: semantic IDs, new tokens, then the same fine-tuning from two
# starts (mean initialisation, and grounded by GTI), evaluated and diagnosed side by side.
#
#   bash sample_data/run.sh [FOLDER]      results go to FOLDER (default: demo); run it again and finished stages are kept
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-demo}
export GTI_WORKSPACE="$out"
# Everything here is small: neither hub nor GPU is wanted.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
steps=${STEPS:-300}
device=(--device cpu)

echo "1. Semantic IDs: 3 levels of 64 codes from titles, descriptions, brands and categories"
gti build-ids "$here/items.parquet" --levels 3 --codes 64

echo "2. 192 new tokens into the tokenizer and the model, every new row = the mean of the old rows"
gti extend --model "$here/lm" --init mean "${device[@]}"

echo "3. Grounding: the model frozen, the new rows trained on pairs of text and semantic ID"
gti ground --pairs "$here/titles.parquet" "${device[@]}"

echo "4. The same fine-tuning from both starts"
for start in extended:mean grounded:gti; do
  gti finetune --interactions "$here/interactions.parquet" --from "${start%%:*}" --name "${start##*:}" \
    --max-steps "$steps" "${device[@]}"
done

echo "5. Every user's last rental, predicted from those before it"
for name in mean gti; do
  gti evaluate "$name" --interactions "$here/interactions.parquet" "${device[@]}"
done

echo "6. The new rows, before and after"
gti diagnose extended grounded mean gti --name demo --plot

python "$here/compare.py" "$out"
