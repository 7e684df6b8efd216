#!/usr/bin/env bash
# One dataset of the study: every method, every seed, from semantic IDs to metrics. Ctrl-C it at any moment: run it again
# and it goes on, for what is finished is kept (each command by itself; a measured run's weights are thrown away).
#
#   bash run.sh DATA MODEL FOLDER
#     DATA    folder with items.parquet and interactions.parquet     MODEL  a causal LM: folder, hub name, .gguf
#     FOLDER  results (a workspace); report.py reads it
#
# Settings by environment, with the defaults of the small LM on the office data:
#   LEVELS=3 CODES=256   of the semantic IDs            RATE=5e-4  of the pretrained weights
#   GROUND=600           steps of grounding             ROWS="5e-4 1e-3 3e-3 1e-2"  of the new rows, to choose from
#   EPOCHS="1 3"         budgets of fine-tuning         TUNE=60    steps of a run that chooses
#   SEEDS="0 1 2"        K=5,10,20                      METHODS="mean text ..."   KEEP=  (1: keep the weights)
set -euo pipefail
data=${1:?usage: run.sh DATA MODEL FOLDER}; model=${2:?usage: run.sh DATA MODEL FOLDER}
export GTI_WORKSPACE=${3:?usage: run.sh DATA MODEL FOLDER} HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} TOKENIZERS_PARALLELISM=false
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LEVELS:=3}" "${CODES:=256}" "${RATE:=5e-4}" "${ROWS:=5e-4 1e-3 3e-3 1e-2}" "${GROUND:=600}" "${TUNE:=60}"
: "${EPOCHS:=1 3}" "${SEEDS:=0 1 2}" "${K:=5,10,20}" "${KEEP:=}"
: "${METHODS:=mean hf-mean noisy-mean random codebook text text-permuted text-lstsq gti gti-text}"
mkdir -p "$GTI_WORKSPACE"
log=$GTI_WORKSPACE/log.txt # what the commands print; what goes wrong is also on the screen
shop=(--interactions "$data/interactions.parquet")
done_already() { [ -f "$GTI_WORKSPACE/evaluation/$1/metrics.json" ]; }

# Where a method starts: `gti` and `gti-text` are grounded from mean and text, the others are starts of `gti extend`.
start() {
  case $1 in
    gti | gti-text) local from=start-mean; [ "$1" = gti ] || from=start-text
      [ -d "$GTI_WORKSPACE/start-$1" ] || gti ground --from $from --name "start-$1" --max-steps "$GROUND" --seed 0 -q >> "$log" ;;
    *) [ -d "$GTI_WORKSPACE/start-$1" ] || gti extend --model "$model" --init "$1" --name "start-$1" --seed 0 -q >> "$log" ;;
  esac
}

# The rate of its new rows is chosen for each method by NDCG@10 on validation users: the same runs for all.
tune() {
  for rate in $ROWS; do
    local name=tune-$1-$rate
    [ -f "$GTI_WORKSPACE/tuned/$name.json" ] && continue
    gti finetune "${shop[@]}" --from "start-$1" --name "$name" --max-steps "$TUNE" --learning-rate "$RATE" \
      --rows-learning-rate "$rate" --validations 1 -q >> "$log"
    mkdir -p "$GTI_WORKSPACE/tuned"
    cp "$GTI_WORKSPACE/$name/gti.json" "$GTI_WORKSPACE/tuned/$name.json"
    rm -r "${GTI_WORKSPACE:?}/$name"
  done
}

# measure NAME START ROWS_RATE SEED LENGTH...: fine-tune, evaluate, diagnose.
measure() {
  local name=$1 from=$2 rate=$3 seed=$4; shift 4
  done_already "$name" && [ -d "$GTI_WORKSPACE/diagnostics/$name" ] && return
  gti finetune "${shop[@]}" --from "$from" --name "$name" --learning-rate "$RATE" --rows-learning-rate "$rate" \
    --seed "$seed" "$@" -q >> "$log"
  gti evaluate "$name" "${shop[@]}" --k "$K" --seed 0 -q >> "$log"
  gti diagnose "$name" --name "$name" -q >> "$log"
  mkdir -p "$GTI_WORKSPACE/runs"
  cp "$GTI_WORKSPACE/$name/gti.json" "$GTI_WORKSPACE/runs/$name.json"
  [ -n "$KEEP" ] || rm -r "${GTI_WORKSPACE:?}/$name"
}

gti build-ids "$data/items.parquet" --levels "$LEVELS" --codes "$CODES" -q >> "$log"
start mean; start text
for method in $METHODS; do
  start "$method"
  [ -d "$GTI_WORKSPACE/diagnostics/start-$method" ] || gti diagnose "start-$method" --name "start-$method" -q >> "$log"
  tune "$method"
done
for seed in $SEEDS; do
  for epochs in $EPOCHS; do
    for method in $METHODS; do
      rate=$(python "$here/best.py" "$GTI_WORKSPACE" "$method")
      echo "seed $seed, $epochs epochs: $method, new rows at $rate"
      measure "$method-e$epochs-s$seed" "start-$method" "$rate" "$seed" --epochs "$epochs"
    done
    # The usual set-up: one rate for everything.
    measure "mean-plain-e$epochs-s$seed" start-mean "$RATE" "$seed" --epochs "$epochs"
    # Controls: grounding's own time as more fine-tuning of the mean.
    steps=$(python "$here/best.py" "$GTI_WORKSPACE" mean --steps "mean-e$epochs-s$seed" --and start-gti)
    measure "mean-more-e$epochs-s$seed" start-mean "$(python "$here/best.py" "$GTI_WORKSPACE" mean)" "$seed" --max-steps "$steps"
  done
done
python "$here/report.py" "$GTI_WORKSPACE"
