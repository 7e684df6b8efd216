"""The user's own wordings of the questions for pairs (``gti ground --prompts FILE``), read from a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.prompts.chat import PLACEHOLDER
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, DIRECTIONS, FORMS, TEXT_FORM, TO_TOKENS, Templates

_FORMS = (*FORMS, TEXT_FORM)


def read_templates(path: Path | str) -> Templates:
    """Read wordings from a JSON file; those that the file leaves out keep the default.

    The file holds an object with any of these entries: ``system``, a string; ``text->tokens``, an object of form
    (``title``, ``description``, ``both``, ``text``) -> question with ``{text}`` in it once; ``tokens->text``, the same
    with ``{tokens}``.

    Raises:
        InputError: When the file is no JSON object, has an unknown entry, or a question lacks its placeholder.
    """
    given = _read_object(path)
    unknown = sorted(set(given) - {"system", *DIRECTIONS})
    if unknown:
        raise InputError(
            f"the entry {unknown[0]!r} is not known", where=str(path), remedy=f"use system, {' and '.join(DIRECTIONS)}"
        )
    system = given.get("system", DEFAULT_TEMPLATES.system)
    if not isinstance(system, str):
        raise InputError("system must be a string", where=str(path))
    questions = dict(DEFAULT_TEMPLATES.questions)
    for direction in DIRECTIONS:
        forms = given.get(direction, {})
        if not isinstance(forms, dict):
            raise InputError(f"{direction!r} must map forms to questions", where=str(path))
        for form, question in forms.items():
            if form not in _FORMS:
                raise InputError(f"the form {form!r} is not known", where=str(path), remedy=f"use {', '.join(_FORMS)}")
            holder = "{text}" if direction == TO_TOKENS else "{tokens}"
            if not isinstance(question, str) or question.count(holder) != 1:
                raise InputError(f"{direction}, {form}: the question must hold {holder} once", where=str(path))
            questions[direction, form] = question.replace(holder, PLACEHOLDER)
    return Templates(system, questions)


def _read_object(path: Path | str) -> dict[str, Any]:
    """Read a JSON file that must hold an object."""
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # half a character (a lone \\ud800) can be no prompt
    except (OSError, ValueError, RecursionError) as cause:
        problem = cause.strerror if isinstance(cause, OSError) else f"not valid JSON: {cause}"
        raise InputError(str(problem), where=str(path), remedy="give a JSON file of wordings") from cause
    if not isinstance(content, dict):
        raise InputError("must be a JSON object", where=str(path), remedy="see gti ground --help")
    return content
