#!/usr/bin/env bash
# Add forty invented words to a language model, as an example beyond recommendation. Their rows start from the words of their
# descriptions and are grounded on four wordings of each; the script prints the nearest old words before and after.
#
#   bash sample_data/words.sh MODEL [FOLDER]      MODEL: a causal LM, folder, hub name or .gguf; results go to FOLDER
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${1:?usage: bash sample_data/words.sh MODEL [FOLDER]}
export GTI_WORKSPACE=${2:-demo-words}
export TOKENIZERS_PARALLELISM=false

gti extend --model "$model" --tokens "$here/glosses/words.csv" --init "${INIT:-text}"
gti ground --pairs "$here/glosses/pairs.csv" --max-steps "${STEPS:-60}" --batch-size 8 --learning-rate 0.003 --held-out 0.2
gti diagnose extended grounded --name words
python "$here/words.py" "$here/glosses/words.csv" "$GTI_WORKSPACE/diagnostics/words"
