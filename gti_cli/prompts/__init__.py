"""Prompts and answers: wordings, chat templates, token ids."""
