"""The section on lineage: what was made from what, how, and what is out of date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gti_cli.cards.history import input_lines, option_text
from gti_cli.workspace.lineage import ArtifactState

# Nearly everything is made from them. A copied workspace records the table as a file from outside.
_SEMANTIC_IDS = ("semantic_ids", "semantic_ids.parquet")
_INHERITED = " is stale"  # how `gti_cli.workspace.lineage` ends a reason that comes from a source


@dataclass(frozen=True)
class LineageRow:
    """An artifact as the page lists it.

    Attributes:
        name: Its name.
        depth: How many artifacts stand between it and the beginning.
        command: The command that made it, without ``gti``.
        sources: What else it was made from, in words: without the artifact above it, and without the Semantic IDs.
        finished: When it was finished, as the manifest says it.
        seconds: How long that took.
        tone: ``good`` where it is up to date, else ``middle`` (stale) or ``bad`` (damaged).
        state: The state in words, with the reasons.
        seed: Seed of the run.
        options: Options that determined the result, as text.
        inputs: Role, name and digest of each input file, as text.
    """

    name: str
    depth: int
    command: str
    sources: str
    finished: str
    seconds: float
    tone: str
    state: str
    seed: int
    options: str
    inputs: str


def lineage_rows(states: Sequence[ArtifactState]) -> list[LineageRow]:
    """List artifacts as a tree: each below the artifact that it was made from, earlier ones first.

    An artifact with several sources stands below the one that itself has the longest past.

    Args:
        states: The states of all artifacts, in the order in which they were made.
    """
    by_name = {state.manifest.name: state for state in states}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        """Return the number of artifacts before this one on the longest way to it."""
        if name not in depths:
            depths[name] = 0  # ends the recursion in a cycle, which only an edited manifest could cause
            depths[name] = max((1 + depth(source) for source in _sources(by_name[name], by_name)), default=0)
        return depths[name]

    children: dict[str | None, list[str]] = {}
    parents: dict[str, str | None] = {}
    for name, state in by_name.items():
        parent = max(_sources(state, by_name), key=depth, default=None)
        parents[name] = parent
        children.setdefault(parent, []).append(name)
    rows: list[LineageRow] = []

    def add(name: str, level: int) -> None:
        """Add an artifact, and below it those that were made from it."""
        rows.append(_row(by_name[name], level, parents[name]))
        for child in children.pop(name, []):
            add(child, level + 1)

    for root in children.pop(None, []):
        add(root, 0)
    shown = {row.name for row in rows}
    return rows + [_row(state, 0, None) for name, state in by_name.items() if name not in shown]


def _sources(state: ArtifactState, known: dict[str, ArtifactState]) -> list[str]:
    return [name for name in state.manifest.upstream if name in known and name != state.manifest.name]


def _row(state: ArtifactState, depth: int, parent: str | None) -> LineageRow:
    manifest = state.manifest
    told = {parent, *_SEMANTIC_IDS}
    return LineageRow(
        name=manifest.name,
        depth=depth,
        command=manifest.command,
        sources=", ".join(source for source in dict.fromkeys(state.sources) if source not in told) or "–",
        finished=str(manifest.run.get("finished", "")),
        seconds=manifest.seconds,
        tone="bad" if state.damaged else "middle" if state.reasons else "good",
        state=_state(state),
        seed=manifest.seed,
        options=option_text(manifest.options) or "–",
        inputs="; ".join(f"{line.role} {line.file} ({line.digest})" for line in input_lines([manifest])) or "–",
    )


def _state(state: ArtifactState) -> str:
    """Say in words whether an artifact is up to date. What is wrong with its sources stands at these."""
    if state.damaged or not state.reasons:
        return state.state
    own = [reason for reason in state.reasons if not reason.endswith(_INHERITED)]
    return "out of date: " + ("; ".join(own) or "what it was made from is")
