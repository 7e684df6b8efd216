#!/usr/bin/env bash
# What a language model adds to the recommenders that people have: one dataset, from semantic IDs to blends. It can be
# interrupted at any moment: a second run keeps finished stages and resumes the others.
#
#   bash run.sh DATA MODEL FOLDER
#     DATA    folder with items.parquet and interactions.parquet     MODEL  a causal LM: folder, hub name, .gguf
#     FOLDER  a workspace; report.py reads it
#
# Settings by environment:
#   METHODS="gti text-lstsq mean"   starts of the new rows           SEEDS="0 1 2"     of fine-tuning
#   EPOCHS=3                        passes over the targets          BLENDS="0"        seeds that are blended
#   PRIOR=item-knn                  behaviour prior of all methods   LIST=50           items of each member's list
#   FINETUNE= EVALUATE=             further options of these commands
set -euo pipefail
data=${1:?usage: run.sh DATA MODEL FOLDER}; model=${2:?usage: run.sh DATA MODEL FOLDER}
export GTI_WORKSPACE=${3:?usage: run.sh DATA MODEL FOLDER} HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} TOKENIZERS_PARALLELISM=false
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${METHODS:=gti text-lstsq mean}" "${SEEDS:=0 1 2}" "${EPOCHS:=3}" "${BLENDS:=0}" "${PRIOR:=item-knn}" "${LIST:=50}"
: "${FINETUNE:=}" "${EVALUATE:=}"
shop=(--interactions "$data/interactions.parquet")
measured=(--filter-seen --k 5,10,20)
known=item-knn,content-knn,sasrec

gti build-ids "$data/items.parquet" --levels 4 --codes 256 --encoder lsa -q
gti extend --model "$model" --init text-lstsq --name text-lstsq -q
gti extend --model "$model" --init mean --name mean -q
gti ground --from text-lstsq --name gti -q

for seed in $SEEDS; do
  for method in $METHODS; do
    # shellcheck disable=SC2086
    gti finetune "${shop[@]}" --from "$method" --name "$method-s$seed" --seed "$seed" --epochs "$EPOCHS" \
      --prior "$PRIOR" $FINETUNE -q
    # shellcheck disable=SC2086
    gti evaluate "$method-s$seed" "${shop[@]}" "${measured[@]}" --baselines "$known" $EVALUATE -q
  done
done

# The same with all that is known of users and items in the prior.
for seed in $SEEDS; do
  # shellcheck disable=SC2086
  gti finetune "${shop[@]}" --from gti --name "trained-prior-s$seed" --seed "$seed" --epochs "$EPOCHS" \
    --prior item-knn+sasrec+content-knn $FINETUNE -q
  gti evaluate "trained-prior-s$seed" "${shop[@]}" "${measured[@]}" --baselines "$known" --compare sasrec -q
done

# Beside published figures, which rank seen items, too.
for seed in $BLENDS; do
  gti evaluate "gti-s$seed" "${shop[@]}" --k 5,10,20 --baselines item-knn --name "gti-s$seed-seen-kept" -q
done

# The blends of what everybody has, then those with a language model.
blend() { # NAME MEMBERS COMPARED-WITH
  gti blend --of "$2" "${shop[@]}" --filter-seen --list-length "$LIST" --name "$1" -q
  gti evaluate "$1" "${shop[@]}" "${measured[@]}" --baselines "$known" --compare "$3" -q
}
blend two-baselines "sasrec,item-knn" sasrec
blend without-lm "sasrec,item-knn,content-knn" sasrec
for seed in $BLENDS; do
  blend "two-and-lm-s$seed" "gti-s$seed,sasrec,item-knn" two-baselines
  blend "blend-s$seed" "gti-s$seed,sasrec,item-knn,content-knn" without-lm
  blend "blend-trained-s$seed" "trained-prior-s$seed,sasrec,item-knn,content-knn" without-lm
done
# All seeds of a language model in one blend.
members=$(for seed in $SEEDS; do printf 'trained-prior-s%s,' "$seed"; done)
blend blend-seeds "${members}sasrec,item-knn,content-knn" without-lm

python "$here/report.py" "$GTI_WORKSPACE"
