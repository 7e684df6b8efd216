#!/usr/bin/env bash
# Are items recommended that nobody has had yet? A tenth of the items loses all interactions; the workspace of run.sh, with
# its starts of the new rows, is read. It can be interrupted at any moment and run again.
#
#   bash cold.sh DATA FOLDER
#     DATA    folder with interactions.parquet     FOLDER  a workspace of run.sh
#
# Settings by environment: STARTS="gti text-lstsq"  SEED=0  EPOCHS=3  FINETUNE=  LIST=300 (items of each member's list)
set -euo pipefail
data=${1:?usage: cold.sh DATA FOLDER}
export GTI_WORKSPACE=${2:?usage: cold.sh DATA FOLDER} HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} TOKENIZERS_PARALLELISM=false
: "${STARTS:=gti text-lstsq}" "${SEED:=0}" "${EPOCHS:=3}" "${FINETUNE:=}" "${LIST:=300}"
shop=(--interactions "$data/interactions.parquet")
measured=(--hold-out-items --filter-seen --k 5,10,20 --baselines item-knn,content-knn)
first=${STARTS%% *}

for start in $STARTS; do
  name=cold-$start-s$SEED
  # shellcheck disable=SC2086
  gti finetune "${shop[@]}" --from "$start" --hold-out-items 0.1 --name "$name" --seed "$SEED" --epochs "$EPOCHS" $FINETUNE -q
  gti evaluate "$name" "${shop[@]}" "${measured[@]}" --compare content-knn -q
  [ "$start" = "$first" ] || gti evaluate "cold-$first-s$SEED" "${shop[@]}" "${measured[@]}" --compare "$name"
done
for start in $STARTS; do
  name=cold-blend-$start-s$SEED
  gti blend --of "cold-$start-s$SEED,item-knn,content-knn" "${shop[@]}" --filter-seen --targets balanced --list-length "$LIST" \
    --name "$name" -q
  gti evaluate "$name" "${shop[@]}" "${measured[@]}" --compare content-knn
done
