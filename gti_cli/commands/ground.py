"""Placeholder until the stage is here."""


def ground() -> None:
    """Not written yet."""
    raise NotImplementedError
