"""The caller's own wordings for pairs of text and tokens, from a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.prompts.pairs import DIRECTIONS, FORMS, MARK, OURS, TEXT_FORM, TO_TOKENS, Templates

_FORMS = (*FORMS, TEXT_FORM)


def read_templates(path: Path | str) -> Templates:
    """Read wordings; whatever the file leaves out keeps ours.

    The file is an object with any of: ``system``, a string; ``text->tokens``, an object of form (`title`,
    `description`, `both`, `text`) -> question with ``{text}`` in it once; ``tokens->text``, likewise with ``{tokens}``.

    Raises:
        InputError: no JSON object, an unknown name, a question without its place holder.
    """
    given = _object(path)
    unknown = sorted(set(given) - {"system", *DIRECTIONS})
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is not known", where=str(path), remedy=f"use system, {' and '.join(DIRECTIONS)}"
        )
    system = given.get("system", OURS.system)
    if not isinstance(system, str):
        raise InputError("system must be a string", where=str(path))
    questions = dict(OURS.questions)
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
            questions[direction, form] = question.replace(holder, MARK)
    return Templates(system, questions)


def _object(path: Path | str) -> dict[str, Any]:
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as cause:
        problem = cause.strerror if isinstance(cause, OSError) else f"no JSON: {cause}"
        raise InputError(str(problem), where=str(path), remedy="give a JSON file of wordings") from cause
    if not isinstance(found, dict):
        raise InputError("must be a JSON object", where=str(path), remedy="see gti ground --help")
    return found
