"""What a trainer did to the new rows: how far they moved, and whether head and embedding are still one matrix.

    python exported_rows.py CHECKPOINT EXPORTED

CHECKPOINT is what was trained, with gti's ``new_tokens.parquet``; EXPORTED what another tool saved. Prints one line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors import safe_open

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def matrix(folder: Path, name: str) -> torch.Tensor | None:
    """A matrix of a checkpoint; None where the files do not hold it."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 (a handle of safetensors is no mapping)
                return tensors.get_tensor(name)
    return None


def main(checkpoint: Path, exported: Path) -> None:
    """Print the line."""
    ids = pq.read_table(checkpoint / "new_tokens.parquet").column("id").to_pylist()
    before, after = matrix(checkpoint, EMBEDDING), matrix(exported, EMBEDDING)
    assert before is not None and after is not None
    moved = (after.float() - before.float())[ids].abs().mean()
    head = matrix(exported, HEAD)
    tied = json.loads((exported / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings")
    if head is None:
        tie = "no head of its own"
    else:
        tie = "the head equals the embedding" if torch.equal(head, after) else "a head that DIFFERS from the embedding"
        if not torch.equal(head, after):
            tie += f" (new rows of the head moved {(head.float() - before.float())[ids].abs().mean():.4f})"
    print(f"new rows moved {moved:.4f} a coordinate; {tie}, tie_word_embeddings: {str(tied).lower()}; {after.dtype}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
