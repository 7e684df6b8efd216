"""Stages ``finetune`` and ``recommend``, and the export of training conversations."""
