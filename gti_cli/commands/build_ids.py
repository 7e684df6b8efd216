"""Placeholder until the stage is here."""


def build_ids() -> None:
    """Not written yet."""
    raise NotImplementedError
