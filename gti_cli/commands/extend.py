"""Placeholder until the stage is here."""


def extend() -> None:
    """Not written yet."""
    raise NotImplementedError
