"""Placeholder until the stage is here."""


def diagnose() -> None:
    """Not written yet."""
    raise NotImplementedError
