"""What a search for the best `sasrec` has found so far, in a file: a search that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    from gti_cli.baselines.sasrec import Network, Size


@dataclass
class UnfinishedSearch:
    """The networks that were trained so far.

    Attributes:
        path: The file, a safetensors file with the weights of the kept network.
        epochs: The best epoch of each size that was tried.
        ndcg: NDCG of each size that was tried, after that epoch.
        kept: The size that the search is at; None before the first.
        network: The network of that size.
    """

    path: Path
    epochs: dict[Size, int] = field(default_factory=dict)
    ndcg: dict[Size, float] = field(default_factory=dict)
    kept: Size | None = None
    network: Network | None = None

    @classmethod
    def read(cls, path: Path, items: int) -> UnfinishedSearch:
        """Read what was written; an empty search where nothing was, or where it cannot be read.

        Args:
            path: The file.
            items: Number of items in the catalogue.
        """
        from safetensors import SafetensorError, safe_open

        from gti_cli.baselines.sasrec import Network, Size

        found = cls(path)
        try:
            with safe_open(path, framework="pt") as file:
                described = json.loads((file.metadata() or {})["search"])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            kept = Size(**described["kept"])
            network = Network(items, kept)
            network.load_state_dict(weights)
            for tried in described["tried"]:
                size = Size(**tried["size"])
                found.epochs[size], found.ndcg[size] = int(tried["epochs"]), float(tried["ndcg"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
            return cls(path)
        found.kept, found.network = kept, network
        return found

    def add(self, size: Size, epochs: int, ndcg: float, network: Network, *, keep: bool) -> None:
        """Add a network that was trained, and write the file.

        Args:
            size: Its size.
            epochs: Its best epoch.
            ndcg: NDCG after that epoch.
            network: The network.
            keep: Whether the search goes to this size; it needs the network then, and the one before no longer.
        """
        from safetensors.torch import save_file

        self.epochs[size], self.ndcg[size] = epochs, ndcg
        if keep or self.network is None:
            self.kept, self.network = size, network
        tried = [{"size": asdict(one), "epochs": self.epochs[one], "ndcg": value} for one, value in self.ndcg.items()]
        described = {"kept": asdict(self.kept or size), "tried": tried}
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            save_file(weights, temporary, metadata={"search": json.dumps(described)})

    def best(self) -> float:
        """NDCG of the network that is kept; minus infinity before the first."""
        return float("-inf") if self.kept is None else self.ndcg[self.kept]

    def settings_tried(self, measured: Mapping[Size, float], metric: str) -> list[dict[str, float]]:
        """One entry for each size, for a manifest.

        Args:
            measured: NDCG of each size, in the order in which the search came to them.
            metric: Name of the NDCG in an entry.
        """
        return [{**asdict(size), "epochs": self.epochs[size], metric: value} for size, value in measured.items()]
