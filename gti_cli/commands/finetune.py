"""Placeholder until the stage is here."""


def finetune() -> None:
    """Not written yet."""
    raise NotImplementedError
