"""Placeholder until the stage is here."""


def evaluate() -> None:
    """Not written yet."""
    raise NotImplementedError
