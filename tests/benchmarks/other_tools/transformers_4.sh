#!/usr/bin/env bash
# Reads a checkpoint with transformers 4.57 and with the installed version 5, and compares what they make of it: token ids,
# logits, a greedy answer, and the list of the script that `gti export catalog` prints. Prints one row of a Markdown table.
#
#   bash transformers_4.sh WORKSPACE CHECKPOINT ITEM_ID ITEM_ID …     the items of a history, oldest first
#
# CHECKPOINT is one that `gti finetune` wrote. GTI_TRANSFORMERS4 names a folder with transformers 4.57 (`make test-all` makes
# one in .venv/transformers4); without it the packages are installed into a folder that is deleted at the end. PYTHON (python)
# is the Python in which `gti` is installed.
set -uo pipefail
usage='usage: transformers_4.sh WORKSPACE CHECKPOINT ITEM_ID ITEM_ID …'
workspace=${1:?$usage} && name=${2:?$usage} && shift 2 && : "${1:?$usage}"
python=${PYTHON:-python}
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
older=${GTI_TRANSFORMERS4:-}
if [ -z "$older" ]; then
  older=$scratch/transformers4
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$older" \
    transformers==4.57.6 tokenizers==0.22.2 huggingface_hub==0.36.2 || exit 1
fi

"$python" -m gti_cli export catalog "$name" -w "$workspace" -o "$scratch/catalog.json" --json --quiet >"$scratch/export.json" || exit
"$python" - "$scratch" <<'PYTHON' || exit
import json, sys
folder = sys.argv[1]
exported = json.load(open(f"{folder}/export.json"))
if "script" not in exported:
    sys.exit("the checkpoint has no gti_prompt.json with a question for the next item: gti finetune writes it")
open(f"{folder}/script.py", "w").write(exported["script"])
PYTHON

cat >"$scratch/read.py" <<'PYTHON'
"""Writes what the transformers that is imported makes of a checkpoint: python read.py CHECKPOINT OUTPUT.json"""
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, output = sys.argv[1:]
asked = json.load(open(f"{folder}/gti_prompt.json", encoding="utf-8"))
question = asked["next-item"]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
item = "".join(tokenizer.decode(asked["item"]["opening"]) + "".join(code.format(0) for code in asked["item"]["codes"]))
messages = [
    {"role": "system", "content": question["system"]},
    {"role": "user", "content": question["wordings"][0]["text"] + item},
]
try:
    chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
except ValueError:  # no chat template
    chat = messages[1]["content"]
ids = torch.tensor([[*question["wordings"][0]["before"], *question["wordings"][0]["behind"]]])
with torch.no_grad():
    logits = model(ids).logits[0, -1].float()
    answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[0]
read = {
    "version": transformers.__version__,
    "class": type(tokenizer).__name__,
    "text ids": tokenizer(chat)["input_ids"],
    "special ids": sorted(tokenizer.all_special_ids),
    "answer": answer.tolist(),
    "logits": logits.tolist(),
}
json.dump(read, open(output, "w"))
PYTHON

checkpoint=$name && [ -d "$checkpoint" ] || checkpoint=$workspace/$name
"$python" -W ignore "$scratch/read.py" "$checkpoint" "$scratch/new.json" 2>"$scratch/new.err" || { cat "$scratch/new.err"; exit 1; }
code=0
# Without the script's own folder on the path: the packages of version 4 must come before those that are installed.
PYTHONPATH=$older${PYTHONPATH:+:$PYTHONPATH} "$python" -W ignore "$scratch/read.py" "$checkpoint" "$scratch/old.json" 2>"$scratch/old.err" || code=$?
PYTHONPATH=$older${PYTHONPATH:+:$PYTHONPATH} "$python" -W ignore "$scratch/script.py" "$@" >"$scratch/list" 2>>"$scratch/old.err" || code=$?
"$python" -m gti_cli recommend "$name" -w "$workspace" --history "$(IFS=,; echo "$*")" -k 10 --dtype float32 --json --quiet \
  >"$scratch/gti.json" || exit
[ "$code" = 0 ] || tail -n 5 "$scratch/old.err"
"$python" - "$scratch" "$code" <<'PYTHON'
import json, sys
from pathlib import Path

folder, code = Path(sys.argv[1]), int(sys.argv[2])
what = "reads a checkpoint of `gti finetune`; runs the script of `gti export catalog`"
if not (folder / "old.json").exists():
    print(f"| transformers | 4.57 | {what} | {code} | nothing: it does not load |")
    sys.exit(1)
old, new = (json.loads((folder / name).read_text()) for name in ("old.json", "new.json"))
apart = max(abs(a - b) for a, b in zip(old["logits"], new["logits"]))
same = [name for name in ("text ids", "special ids", "answer") if old[name] == new[name]]
other = [name for name in ("text ids", "special ids", "answer") if old[name] != new[name]]
listed = [line.split()[1] for line in (folder / "list").read_text().splitlines()]
best = [line["item_id"] for line in json.loads((folder / "gti.json").read_text())["recommendations"]]
equal = sum(a == b for a, b in zip(listed, best))
out = f"as under {new['version']}: {', '.join(same) or 'nothing'}"
out += f"; other than there: {', '.join(other)}" if other else ""
out += f"; largest difference of a logit {apart:.1e}; {equal} of {len(best)} places of `gti recommend`'s list"
print(f"| transformers | {old['version']} | {what} | {code} | {out} |")
sys.exit(code or bool(other) or apart > 1e-3)
PYTHON
