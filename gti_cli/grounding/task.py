"""What an objective gives to the training of ``ground``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gti_cli.grounding.distil.batches import DistilCollator
    from gti_cli.grounding.distil.objective import DistilModel
    from gti_cli.grounding.nll.batches import Collator
    from gti_cli.grounding.nll.objective import GroundingModel


class Measured(Protocol):
    """What is measured at any step (`point`), and before and after only (`search`)."""

    def point(self) -> dict[str, float | None]:
        """Figures of the rows as they are, by name."""
        ...

    def search(self) -> dict[str, float]:
        """Figures that take long."""
        ...

    @property
    def examples(self) -> int:
        """How many held-out examples `point` computes."""
        ...


@dataclass(frozen=True)
class Task:
    """An objective over its examples.

    Attributes:
        trained: the module; its loss comes as a sum and the number of what was summed. collator: makes its batches.
        measures: see `Measured`. tables: further files of the checkpoint's folder, name -> columns.
        constant: measured figures that training cannot change (reported once).
    """

    trained: GroundingModel | DistilModel
    collator: Collator | DistilCollator
    measures: Measured
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
