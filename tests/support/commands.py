"""Stand-ins for stages, so that tests of commands need no model."""

from __future__ import annotations

from typing import Any

from gti_cli.workspace.manifest import Manifest


class RecordingStage:
    """A stage that records its arguments and returns what it was given.

    Attributes:
        calls: The positional and keyword arguments of each call.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Record the call."""
        self.calls.append((arguments, keywords))
        return self.result


def make_manifest(name: str, command: str = "test", **fields: Any) -> Manifest:
    """A manifest with the given fields; all others are empty."""
    run = {"seconds": 2.5, **fields.pop("run", {})}
    return Manifest.from_json({**Manifest.placeholder(name).to_json(), "command": command, "run": run, **fields})
