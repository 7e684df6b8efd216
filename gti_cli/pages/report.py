"""`gti report`: one page about a workspace, made from manifests, stored lists and pictures alone.

This module gathers the data of all sections. The page and its fixed words are ``templates/report.html.jinja``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli.diagnostics.report import THRESHOLDS
from gti_cli.diagnostics.verdict_table import advices_of, evaluation_sentence, grades_of, verdict_rows
from gti_cli.errors import InputError
from gti_cli.html.page import render_page
from gti_cli.pages.catalogue import catalogue_facts, catalogue_or_reason, example_prefixes, quality_rows
from gti_cli.pages.evaluations import EvaluationGroup, comparisons, evaluation_groups
from gti_cli.pages.histories import choose_evaluation, read_histories
from gti_cli.pages.lineage import lineage_rows
from gti_cli.pages.pictures import pictures_of
from gti_cli.pages.training import grounding_rows, run_facts, start_row, task_rows
from gti_cli.workspace import Workspace
from gti_cli.workspace.files import replacing
from gti_cli.workspace.lineage import ArtifactState, inspect
from gti_cli.workspace.manifest import Manifest

DEFAULT_NAME = "report.html"
DEFAULT_HISTORIES = 20
_ENDINGS = (".html", ".htm")
_PAGE_START = b"<!DOCTYPE html>"


@dataclass(frozen=True)
class _Contents:
    """What all sections are made from.

    Attributes:
        space: The workspace.
        states: The states of all artifacts.
        manifests: All readable manifests by name, in the order in which they were made.
    """

    space: Workspace
    states: Sequence[ArtifactState]
    manifests: Mapping[str, Manifest]

    def made_by(self, command: str) -> list[Manifest]:
        """Return the manifests of one command."""
        return [manifest for manifest in self.manifests.values() if manifest.command == command]

    def pictures(self, manifest: Manifest) -> list[Any]:
        """Return the pictures of an artifact."""
        return list(pictures_of(self.space, manifest, self.manifests))


def report(
    workspace: Path | str = Path("gti-workspace"),
    *,
    output: Path | str | None = None,
    histories: int = DEFAULT_HISTORIES,
) -> Path:
    """Write one HTML page about a workspace: lineage, Semantic IDs, training, evaluation, diagnosis, recommendations.

    All figures come from manifests. No model is loaded, and the page needs neither network nor scripts.

    Args:
        workspace: The workspace.
        output: The file to write. None: ``report.html`` in the workspace.
        histories: How many users to show with their recommendations.

    Returns:
        The path of the page.

    Raises:
        InputError: When there is no such workspace, or it is empty.
        InputError: When the output is no HTML file, or its folder does not exist.
    """
    space = Workspace(workspace)
    if histories < 0:
        raise InputError(f"--histories {histories} is no number of users", remedy="give 0 or more")
    if not space.root.is_dir():
        raise InputError("there is no such workspace", where=str(space.root), remedy="start with 'gti build-ids ITEMS'")
    path = _check_output(Path(output) if output is not None else space.path(DEFAULT_NAME))
    contents = _Contents(space, inspect(space), space.manifests())
    if not contents.states:
        raise InputError("the workspace is empty", where=str(space.root), remedy="start with 'gti build-ids ITEMS'")
    sections = {
        **_semantic_ids(contents, histories),
        **_training(contents),
        **_evaluation(contents),
        **_diagnosis(contents),
    }
    page = render_page(
        ["gti_cli.pages", "gti_cli.diagnostics"],
        "workspace.html.jinja",
        title=space.root.resolve().name,
        lineage=lineage_rows(contents.states),
        summary=_summary(sections),
        **sections,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _check_output(path: Path) -> Path:
    """Return the path if a page may be written there: an older page may be replaced, another file may not."""
    remedy = "give -o a file that ends in .html"
    if path.is_dir():
        raise InputError("this is a folder, not a file", where=str(path), remedy=remedy)
    if path.suffix.lower() not in _ENDINGS:
        raise InputError("the report is an HTML page", where=str(path), remedy=remedy)
    if not path.parent.is_dir():
        raise InputError("there is no such folder", where=str(path.parent), remedy="make it first")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(len(_PAGE_START))
        if start != _PAGE_START:
            raise InputError("this file is no page of gti, so it is kept", where=str(path), remedy="give another name")
    return path


def _summary(sections: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say the most important facts of the other sections."""
    facts = [(name, value) for name, value in (sections["semantic_ids"] or {"facts": []})["facts"][:2]]
    if models := dict.fromkeys(str(row["model"]) for row in sections["starts"] if row["model"]):
        facts.append(("Model", ", ".join(models)))
    for group in sections["evaluations"][:1]:
        for title, is_baseline in (("Best model", False), ("Best baseline", True)):
            row = next((row for row in group.rows if row.is_baseline == is_baseline), None)
            if row is not None and (value := row.cells[group.main_column][0]) is not None:
                facts.append((f"{title}, {group.slice_metric}", f"{row.name}: {value:.3f}"))
    for diagnosis in sections["diagnoses"][:1]:
        verdicts = [f"{len(rows)} {grade}" for grade, _, rows in diagnosis["grades"]]
        facts.append(("Verdicts", ", ".join(verdicts)))
    return facts


def _semantic_ids(contents: _Contents, histories: int) -> dict[str, Any]:
    """Gather what the sections on Semantic IDs and on single users show."""
    manifest = contents.manifests.get("semantic_ids")
    catalogue, problem = catalogue_or_reason(contents.space) if manifest is not None else (None, "")
    evaluation = choose_evaluation(contents.space, contents.manifests)
    shown, why = None, problem
    if histories and evaluation is not None and catalogue is not None:
        try:
            shown = read_histories(contents.space, evaluation, catalogue, histories)
        except InputError as error:
            why = str(error)
    return {
        "semantic_ids": manifest
        and {
            "facts": catalogue_facts(manifest),
            "quality": quality_rows(manifest),
            "examples": example_prefixes(catalogue) if catalogue is not None else [],
            "pictures": contents.pictures(manifest),
            "problem": problem,
        },
        "histories": shown,
        "histories_problem": why,
        "histories_wanted": histories,
        "has_user_evaluation": evaluation is not None,
    }


def _training(contents: _Contents) -> dict[str, Any]:
    """Gather what the sections on starts, grounding and fine-tuning show."""
    tuned = contents.made_by("finetune")
    return {
        "starts": [start_row(manifest) for manifest in contents.made_by("extend")],
        "groundings": [
            {
                "name": manifest.name,
                "facts": run_facts(manifest),
                "rows": grounding_rows(manifest),
                "pictures": contents.pictures(manifest),
            }
            for manifest in contents.made_by("ground")
        ],
        "tasks": list(task_rows(tuned)),
        "finetuned": [
            {"name": manifest.name, "facts": run_facts(manifest), "pictures": contents.pictures(manifest)}
            for manifest in tuned
        ],
    }


def _evaluation(contents: _Contents) -> dict[str, Any]:
    """Gather what the section on evaluation shows."""
    groups = evaluation_groups(contents.manifests)
    return {
        "evaluations": groups,
        "evaluation_pictures": {group.title + group.facts: _pictures_of_group(contents, group) for group in groups},
        "comparisons": comparisons(contents.manifests),
    }


def _pictures_of_group(contents: _Contents, group: EvaluationGroup) -> list[tuple[str, list[Any]]]:
    """Return the pictures of each evaluation of a group that has any."""
    pictures = [
        (manifest.name.removeprefix("evaluation/"), contents.pictures(manifest)) for manifest in group.manifests
    ]
    return [(name, of_evaluation) for name, of_evaluation in pictures if of_evaluation]


def _diagnosis(contents: _Contents) -> dict[str, Any]:
    """Gather what the section on diagnosis shows, the latest diagnosis first."""
    diagnoses = []
    for manifest in reversed(contents.made_by("diagnose")):
        labels = [str(label) for label in manifest.details.get("checkpoints", []) if label in manifest.metrics]
        found = {label: _found(contents, label, manifest) for label in labels}
        rows = verdict_rows(manifest.metrics, labels, found)
        diagnoses.append(
            {
                "name": manifest.name.removeprefix("diagnostics/"),
                "finished": str(manifest.run.get("finished", "")),
                "rows": rows,
                "grades": grades_of(rows),
                "advices": advices_of(rows),
                "pictures": contents.pictures(manifest),
            }
        )
    return {"diagnoses": diagnoses, "thresholds": THRESHOLDS}


def _found(contents: _Contents, label: str, diagnosis: Manifest) -> str:
    """Say what evaluations of a diagnosed checkpoint found, as far as it is still the one that was diagnosed."""
    manifest = contents.manifests.get(label)
    if manifest is None or diagnosis.upstream.get(label) != manifest.identity:
        return ""
    return evaluation_sentence(contents.space, manifest)
