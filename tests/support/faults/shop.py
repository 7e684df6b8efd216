"""A tiny shop, and every command on it in the order in which a user runs them."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.adapters import write_adapter
from tests.support.models import make_model, make_tokenizer

ITEMS, USERS = 24, 16
COLOURS = ("red", "blue", "green", "grey")
THINGS = ("dress", "jacket", "coat", "boots", "shirt", "jumper")


@dataclass(frozen=True)
class Step:
    """One command of the road.

    Attributes:
        name: What the tests call it.
        text: The command line without ``gti`` and ``-w ws``.
    """

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The whole command line. Each command runs in a folder that holds ``in``, ``tables`` and ``ws``."""
        line = shlex.split(self.text)
        return [*line, *([] if line[0] == "import" or "-w" in line else ["-w", "ws"]), "-q"]


CPU = "--device cpu"
SHOP = "--interactions tables/interactions.parquet"
FEW = f"--max-steps 3 --batch-size 8 {CPU}"
COLUMNS = "user_id=user_id,item_id=item_id,timestamp=timestamp,title=title,description=description"
LINES = {
    "import": f"import in/bought.csv -o tables --columns {COLUMNS}",
    "build-ids": "build-ids tables/items.parquet --levels 2 --codes 6",
    "extend": f"extend --model in/lm {CPU}",
    "ground": f"ground --eval-every 2 {FEW}",
    "solve": f"ground --solver regression --name solved {FEW}",
    "words": f"extend --from extended --tokens in/words.csv --name words {CPU}",
    "distil": f"ground --from words --pairs in/words.csv --name distilled --objective distil {FEW}",
    "finetune": f"finetune {SHOP} --from extended {FEW}",
    "prior": f"finetune {SHOP} --from extended --name prior --prior item-knn+content-knn {FEW}",
    "lora": f"finetune {SHOP} --from extended --name lora --lora {FEW}",
    "search": f"finetune --queries in/queries.csv --from extended --name search {FEW}",
    "evaluate": f"evaluate {SHOP} --k 2,5 {CPU}",
    "merge": f"evaluate in/adapter --base finetuned --merge-into merged {SHOP} --k 2,5 --baselines popularity {CPU}",
    "evaluate-queries": f"evaluate search --queries in/queries.csv --k 2,5 {CPU}",
    "blend": f"blend --of finetuned,item-knn,popularity {SHOP} {CPU}",
    "evaluate-blend": f"evaluate blend {SHOP} --k 2,5 {CPU}",
    "compare": f"evaluate prior {SHOP} --k 2,5 --compare item-knn {CPU}",
    "diagnose": "diagnose extended finetuned",
    "diagnose-plot": "diagnose extended finetuned --plot --name plotted",
    "recommend": f"recommend --input tables/interactions.parquet -k 3 -o lists.parquet {CPU}",
    "export-index": "export index -o index.json",
    "export-catalog": "export catalog finetuned -o catalog.json --engine flashrec",
    "export-conversations": f"export conversations extended {SHOP} -o chat.parquet",
    "export-recommender": "export recommender finetuned -o exported",
    "report": "report",
    "reuse": "build-ids in/new.csv --reuse",
    "rq-vae": "build-ids tables/items.parquet --levels 2 --codes 6 --quantizer rq-vae --epochs 3 --batch-size 8 "
    "--hidden 16 --latent 4 -w vae",
    "status": "status",
    # The last one replaces a finished checkpoint.
    "replace": f"extend --model in/lm --init mean --force {CPU}",
}
STEPS = tuple(Step(name, line) for name, line in LINES.items())


def write_inputs(folder: Path, seed: int = 0) -> None:
    """Write what the shop has before the first command: tables, a language model, an adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    titles = [f"{COLOURS[n % 4]} {THINGS[n // 4]}" for n in range(ITEMS)]
    rows = [
        f"u{user},i{item},{100 + time},{titles[item]},A {titles[item]} number {item}"
        for user in range(USERS)
        for time, item in enumerate(rng.integers(0, ITEMS, 5 + user % 3).tolist())
    ]
    rows += [f"last,i{item},{50 + item},{titles[item]},A {titles[item]} number {item}" for item in range(ITEMS)]
    head = "user_id,item_id,timestamp,title,description"
    (folder / "bought.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "words.csv").write_text("token,text,tokens\n" + "".join(f"<w{n}>,{THINGS[n]},<w{n}>\n" for n in range(4)))
    queries = "".join(f"{title} {n % 3},i{n},2\n" for n, title in enumerate(titles))
    (folder / "queries.csv").write_text("query,item_id,relevance\n" + queries)
    (folder / "new.csv").write_text("item_id,title,description\nn1,red hat,A red hat\nn2,blue scarf,A blue scarf\n")
    tokenizer = make_tokenizer()
    make_model("qwen3", len(tokenizer), seed=seed).save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")


def write_adapter_of_the_shop(folder: Path) -> None:
    """Write the adapter that ``--merge-into`` merges, once ``finetuned`` exists."""
    write_adapter(folder / "ws" / "finetuned", folder / "in" / "adapter")


def copy(source: Path, target: Path) -> Path:
    """Copy the folder of a shop."""
    return Path(shutil.copytree(source, target, symlinks=True))


def steps(names: Sequence[str] | None = None) -> list[Step]:
    """The steps of these names, in order; all without names."""
    return [step for step in STEPS if names is None or step.name in names]
