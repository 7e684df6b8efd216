#!/usr/bin/env bash
# One dataset of the study: every method, every seed, from semantic IDs to metrics. It can be interrupted at any moment: a
# second run keeps finished stages and resumes the others. The weights of a measured run are deleted.
#
#   bash run.sh DATA MODEL FOLDER
#     DATA    folder with items.parquet and interactions.parquet     MODEL  a causal LM: folder, hub name, .gguf
#     FOLDER  results (a workspace); report.py reads it, or several: divide METHODS or SEEDS over copies of one folder
#
# Settings by environment, with the defaults of the small LM on the office data:
#   IDS="--levels 3 --codes 256"  of gti build-ids      RATE=5e-4  of the pretrained weights
#   GROUND=600           steps of grounding             ROWS="1e-3 3e-3 1e-2"  of the new rows, to choose from
#                                                       (one, or auto: no choice)
#   EPOCHS="1 3"         budgets of fine-tuning         TUNE=60    steps of a run that chooses
#   SEEDS="0 1 2"        K=5,10,20                      METHODS="mean text ..."   KEEP=  (1: keep the weights)
#   CONTROLS="plain more"  plain: mean with one rate for all weights; more: mean with the time of grounding MORE (gti) spent
#                        on more fine-tuning
#   TASKS="next-item:2,lc-rec:1"  of the methods lc-rec and gti-lc-rec, which take as many steps as mean
#   LANGUAGE=10          the language is measured on the text of one item in so many
#   FINETUNE= GROUNDING= EVALUATE=  further options of these commands, e.g. --lora, --directions to-tokens, --dtype bfloat16
set -euo pipefail
data=${1:?usage: run.sh DATA MODEL FOLDER}; model=${2:?usage: run.sh DATA MODEL FOLDER}
export GTI_WORKSPACE=${3:?usage: run.sh DATA MODEL FOLDER} HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} TOKENIZERS_PARALLELISM=false
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${IDS:=--levels 3 --codes 256}" "${RATE:=5e-4}" "${ROWS:=1e-3 3e-3 1e-2}" "${GROUND:=600}" "${TUNE:=60}"
: "${EPOCHS:=1 3}" "${SEEDS:=0 1 2}" "${K:=5,10,20}" "${KEEP:=}" "${CONTROLS=plain more}" "${MORE:=gti}"
: "${FINETUNE:=}" "${GROUNDING:=}" "${EVALUATE:=}" "${LANGUAGE:=10}"
: "${TASKS:=next-item:2,lc-rec:1}"
: "${METHODS:=mean hf-mean noisy-mean random codebook text text-permuted text-lstsq gti gti-text lc-rec gti-lc-rec}"
mkdir -p "$GTI_WORKSPACE"/{tuned,runs,language}
log=$GTI_WORKSPACE/log.txt # output of the commands; errors are also on the screen
shop=(--interactions "$data/interactions.parquet")

# The start of a method; methods with LC-Rec's tasks share the start of the same method without them.
start_of() {
  case $1 in lc-rec) echo start-mean ;; gti-lc-rec) echo start-gti ;; *) echo "start-$1" ;; esac
}
tasks_of() {
  case $1 in lc-rec | gti-lc-rec) echo --tasks "$TASKS" ;; esac
}

# `gti` is grounded from mean, `gti-START` from another start; the others are made by `gti extend`.
start() {
  local name; name=$(start_of "$1")
  # shellcheck disable=SC2086
  [ -d "$GTI_WORKSPACE/$name" ] || case $name in
    start-gti | start-gti-*)
      local from=${name#start-gti}; from=${from#-}; from=${from:-mean}
      start "$from"
      gti ground --from "start-$from" --name "$name" --max-steps "$GROUND" --seed 0 $GROUNDING -q >> "$log"
      ;;
    *) gti extend --model "$model" --init "${name#start-}" --name "$name" --seed 0 -q >> "$log" ;;
  esac
  describe "$name"
}

# describe CHECKPOINT: measure its rows and its language.
describe() {
  [ -d "$GTI_WORKSPACE/diagnostics/$1" ] || gti diagnose "$1" --name "$1" -q >> "$log"
  [ -f "$GTI_WORKSPACE/language/$1.json" ] || python "$here/language.py" "$GTI_WORKSPACE" "$1" "$LANGUAGE"
}

# The rate of the new rows is chosen for each method by NDCG@10 on validation users, with the same runs for all methods.
tune() {
  [ "$ROWS" = "${ROWS#* }" ] && return # one rate: no choice
  for rate in $ROWS; do
    local name=tune-$1-$rate
    [ -f "$GTI_WORKSPACE/tuned/$name.json" ] && continue
    # shellcheck disable=SC2046,SC2086
    gti finetune "${shop[@]}" --from "$(start_of "$1")" --name "$name" --max-steps "$TUNE" --learning-rate "$RATE" \
      --rows-learning-rate "$rate" --validations 1 --rank-sample 2000 $(tasks_of "$1") $FINETUNE -q >> "$log"
    mv "$GTI_WORKSPACE/$name/gti.json" "$GTI_WORKSPACE/tuned/$name.json"
    rm -r "${GTI_WORKSPACE:?}/$name"
  done
}
rate_of() { # METHOD [further arguments of best.py]
  if [ $# = 1 ] && [ "$ROWS" = "${ROWS#* }" ]; then echo "$ROWS"; else python "$here/best.py" "$GTI_WORKSPACE" "$@"; fi
}

# measure NAME START ROWS_RATE SEED OPTION...: fine-tune, evaluate and describe.
measure() {
  local name=$1 from=$2 rate=$3 seed=$4; shift 4
  [ -f "$GTI_WORKSPACE/runs/$name.json" ] && return
  echo "$(date +%H:%M:%S) $name from $from, new rows at $rate, $*"
  local rows=(--rows-learning-rate "$rate")
  [ "$rate" = auto ] && rows=()
  # shellcheck disable=SC2086
  gti finetune "${shop[@]}" --from "$from" --name "$name" --learning-rate "$RATE" "${rows[@]}" \
    --seed "$seed" "$@" $FINETUNE -q >> "$log"
  # shellcheck disable=SC2086
  gti evaluate "$name" "${shop[@]}" --k "$K" --seed 0 $EVALUATE -q >> "$log"
  describe "$name"
  cp "$GTI_WORKSPACE/$name/gti.json" "$GTI_WORKSPACE/runs/$name.part"
  mv "$GTI_WORKSPACE/runs/$name.part" "$GTI_WORKSPACE/runs/$name.json"
  [ -n "$KEEP" ] || rm -r "${GTI_WORKSPACE:?}/$name"
}

# shellcheck disable=SC2086
[ -f "$GTI_WORKSPACE/semantic_ids.json" ] || gti build-ids "$data/items.parquet" $IDS -q >> "$log"
for control in $CONTROLS; do start mean; if [ "$control" = more ]; then start "$MORE"; fi; done
for method in $METHODS; do start "$method"; done
for method in $METHODS; do tune "$method"; done
for seed in $SEEDS; do
  for epochs in $EPOCHS; do
    for method in $METHODS; do
      case $method in
        lc-rec | gti-lc-rec) length=(--max-steps "$(rate_of mean --steps "mean-e$epochs-s$seed")") ;;
        *) length=(--epochs "$epochs") ;;
      esac
      # shellcheck disable=SC2046
      measure "$method-e$epochs-s$seed" "$(start_of "$method")" "$(rate_of "$method")" "$seed" "${length[@]}" $(tasks_of "$method")
    done
    for control in $CONTROLS; do
      case $control in
        plain) measure "mean-plain-e$epochs-s$seed" start-mean "$RATE" "$seed" --epochs "$epochs" ;;
        more) measure "mean-more-e$epochs-s$seed" start-mean "$(rate_of mean)" "$seed" \
          --max-steps "$(rate_of mean --steps "mean-e$epochs-s$seed" --and "start-$MORE")" ;;
      esac
    done
  done
done
python "$here/report.py" "$GTI_WORKSPACE"
