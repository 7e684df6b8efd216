"""Make the sample data: ``python sample_data/make_sample.py [--out DIR] [--only data|lm]``.

All data are invented: they are drawn from the grammar in `rental_world/`, and nothing is downloaded. The same seed
gives the same files, byte for byte, on one machine with the same package versions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rental_world.baselines import report
from rental_world.tables import World, draw_world, write_world

SEED = "gti-sample-1"


def print_report(world: World) -> None:
    """Print the recall of simple recommenders on the histories."""
    texts = [f"{product.title} {product.description}" for product in world.products]
    histories = [[item for item, _ in history] for history in world.histories]
    for name, value in report(histories, texts).items():
        print(f"  {name:18} {value:.4g}")


def main() -> None:
    """Make the tables and the language model, or the part that the command line names."""
    parser = argparse.ArgumentParser(description="Make the synthetic clothes-rental sample.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into")
    parser.add_argument("--only", choices=("data", "lm"), help="make the tables or the language model only")
    options = parser.parse_args()
    start = time.perf_counter()
    world = draw_world(SEED, items=1_000, users=2_000, queries=300)
    if options.only != "lm":
        write_world(options.out, world)
        print(f"tables written ({time.perf_counter() - start:.0f} s); Recall@10, last item held out:")
        print_report(world)
    if options.only != "data":
        # Imported here because the tables need no torch.
        from rental_world.tiny_lm import make_lm

        record = make_lm(options.out / "lm", SEED, world.products)
        print(f"held-out perplexity: {record['heldout_perplexity']}")
        print(f"language model written ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
