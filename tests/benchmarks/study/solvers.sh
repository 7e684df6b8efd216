#!/usr/bin/env bash
# The solvers of grounding side by side: held-out loss, retrieval, time and memory of each, then fine-tuning from each. It
# can be interrupted at any moment: a second run keeps what is finished.
#
#   bash solvers.sh DATA MODEL FOLDER
#     DATA    folder with items.parquet and interactions.parquet     MODEL  a causal LM: folder, hub name, .gguf
#     FOLDER  results (a workspace), of which solvers.py prints the table
#
# Settings by environment, with the defaults of the table in README.md:
#   IDS="--levels 4 --codes 256"  of gti build-ids    START=text-lstsq  of the rows    SEEDS="0 1 2"
#   RUNS="gradient-1 ..."    SOLVER-AMOUNT: passes of gradient, or steps after the regression
#   FINETUNE="gradient-3 ..."  which of them are fine-tuned, for EPOCHS=1 and with TUNED_SEEDS="0 1 2"
#   GROUNDING= TRAINING= EVALUATE=  further options of gti ground, gti finetune, gti evaluate
set -euo pipefail
usage="usage: solvers.sh DATA MODEL FOLDER"
data=${1:?$usage}; model=${2:?$usage}
export GTI_WORKSPACE=${3:?$usage} HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} TOKENIZERS_PARALLELISM=false
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${IDS:=--levels 4 --codes 256}" "${START:=text-lstsq}" "${SEEDS:=0 1 2}" "${EPOCHS:=1}" "${TUNED_SEEDS:=0 1 2}"
: "${RUNS=gradient-1 gradient-3 gradient-10 regression-0 regression-60 regression-200}"
: "${FINETUNE=gradient-3 regression-200}" "${GROUNDING:=}" "${TRAINING:=}"
: "${EVALUATE:=--filter-seen --k 5,10,20 --baselines popularity}"
mkdir -p "$GTI_WORKSPACE"
log=$GTI_WORKSPACE/log.txt # output of the commands; errors are also on the screen
shop=(--interactions "$data/interactions.parquet")
titles=$GTI_WORKSPACE/titles.parquet

# ground RUN SEED: ground, and measure the held-out loss of each level.
ground() {
  local name=$1-s$2 amount=${1##*-} options=(--solver "${1%-*}" --epochs)
  [ "${1%-*}" = gradient ] || options=(--solver "${1%-*}" --max-steps)
  # shellcheck disable=SC2086
  [ -d "$GTI_WORKSPACE/$name" ] || gti ground --from extended --pairs "$titles" --directions to-tokens --name "$name" \
    --seed "$2" "${options[@]}" "$amount" $GROUNDING -q >> "$log"
  [ -f "$GTI_WORKSPACE/losses/$name.json" ] || python "$here/solvers.py" "$GTI_WORKSPACE" "$name"
}

# finetune RUN SEED: fine-tune from a grounded checkpoint, and evaluate.
finetune() {
  local from=$1-s$2; local name=tuned-$from-e$EPOCHS
  # shellcheck disable=SC2086
  [ -d "$GTI_WORKSPACE/$name" ] || gti finetune "${shop[@]}" --from "$from" --name "$name" --epochs "$EPOCHS" \
    --seed "$2" $TRAINING -q >> "$log"
  # shellcheck disable=SC2086
  [ -f "$GTI_WORKSPACE/evaluation/$name.json" ] || gti evaluate "$name" "${shop[@]}" $EVALUATE -q >> "$log"
}

# shellcheck disable=SC2086
[ -f "$GTI_WORKSPACE/semantic_ids.json" ] || gti build-ids "$data/items.parquet" $IDS -q >> "$log"
[ -d "$GTI_WORKSPACE/extended" ] || gti extend --model "$model" --init "$START" --seed 0 -q >> "$log"
[ -f "$titles" ] || python -c "import sys, pyarrow.parquet as pq
pq.write_table(pq.read_table(sys.argv[1], columns=['item_id', 'title']), sys.argv[2])" "$data/items.parquet" "$titles"
for seed in $SEEDS; do
  for run in $RUNS; do ground "$run" "$seed"; done
done
for seed in $TUNED_SEEDS; do
  for run in $FINETUNE; do ground "$run" "$seed"; finetune "$run" "$seed"; done
done
python "$here/solvers.py" "$GTI_WORKSPACE"
