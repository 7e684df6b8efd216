"""`report.html`: figures, pictures and nearest words of a diagnosis on one page without network access or scripts.

This module prepares the data. The page and its fixed words are ``templates/report.html.jinja``, which stands in the
shell of `gti_cli.html`.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gti_cli.diagnostics.captions import CAPTIONS, name_alike
from gti_cli.diagnostics.coded_items import CodedItems
from gti_cli.diagnostics.matrix_diagnosis import MatrixDiagnosis, PlotSeries
from gti_cli.diagnostics.verdict import COLLAPSED_UP_TO, CROWDED_UP_TO, LEAST_RSA, MOST_P
from gti_cli.diagnostics.verdict_table import advices_of, evaluation_sentence, grades_of, verdict_rows
from gti_cli.html.page import embed_file, render_page
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

TOKENS_SHOWN = 12  # new tokens whose nearest words are listed, for each matrix
_ITEMS_SHOWN = 2  # texts of items listed for each token
_TEXT = 70  # characters of an item's text
_RSA_KEYS = ("pearson", "spearman", "p", "spearman_p", "pearson_interval", "spearman_interval")
THRESHOLDS = {"collapsed": COLLAPSED_UP_TO, "crowded": CROWDED_UP_TO, "rsa": LEAST_RSA, "p": MOST_P}


@dataclass(frozen=True)
class ReportContext:
    """What the page says besides the figures.

    Attributes:
        space: The workspace, whose manifests say what was diagnosed and what evaluations found.
        command: The command line of the diagnosis.
    """

    space: Workspace
    command: str


def command_line(options: Mapping[str, Any], artifact: str) -> str:
    """Return the command line of a diagnosis with its page, without the folders of one machine.

    Args:
        options: The options as the manifest has them.
        artifact: The name of the artifact, ``diagnostics/NAME``.
    """
    words = [
        "gti",
        "diagnose",
        *options["checkpoints"],
        "--plot",
        *(["--trajectory"] if "trajectory" in options else []),
    ]
    words += ["--name", artifact.removeprefix("diagnostics/")]
    given = {"--tokens-from": options["tokens_from"], "--base-vocab": options["base_vocab"]}
    given["--codebooks"] = {"auto": None, "file": "FILE"}.get(options["codebooks"], options["codebooks"])
    words += [str(word) for flag, value in given.items() if value is not None for word in (flag, value)]
    return shlex.join(words)


def write_report(
    diagnoses: Sequence[MatrixDiagnosis],
    items: CodedItems | None,
    folder: Path,
    metrics: Mapping[str, Any],
    context: ReportContext,
) -> None:
    """Write ``report.html`` into ``folder``, with the pictures that lie there embedded.

    Args:
        diagnoses: The diagnoses of all matrices, in the order of the page.
        items: The items of the workspace. None: the nearest words are shown without items.
        folder: The folder of the diagnosis.
        metrics: The figures of each checkpoint by label, as the manifest has them.
        context: What the page says besides.
    """
    space = context.space
    series = [diagnosis.series for diagnosis in diagnoses]
    manifests = {diagnosis.checkpoint.label: diagnosis.checkpoint.manifest for diagnosis in diagnoses}
    found = {label: evaluation_sentence(space, manifest) for label, manifest in manifests.items()}
    verdicts = verdict_rows(metrics, list(manifests), found)
    first = series[0]
    shown = len(first.shown) - len(first.levels)  # the pretrained tokens in the picture of cosines
    page = render_page(
        ["gti_cli.diagnostics"],
        "report.html.jinja",
        facts=[*_facts(space, manifests, items), ("Made on", f"{_today()} (UTC)")],
        command=context.command,
        verdicts=verdicts,
        grades=grades_of(verdicts),
        advices=advices_of(verdicts),
        thresholds=THRESHOLDS,
        series=series,
        pictures={stem: picture for stem in CAPTIONS if (picture := embed_file(folder / f"{stem}.png")) is not None},
        captions=CAPTIONS,
        alike=name_alike(first.cosines[:shown, :shown], first.shown[:shown]),
        rsa_rows=list(_rsa_rows(series)) if any(entry.figures["rsa_tokens"] for entry in series) else [],
        trained=[entry for entry in series if entry.figures.get("previous")],
        word_tables=[
            {"name": diagnosis.series.name, "rows": list(_word_rows(diagnosis, items))} for diagnosis in diagnoses
        ],
        has_items=items is not None,
    )
    (folder / "report.html").write_text(page, "utf-8")


def _today() -> str:
    """The day in UTC; SOURCE_DATE_EPOCH, the setting for reproducible files, takes its place."""
    return time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def _facts(
    space: Workspace, manifests: dict[str, Manifest | None], items: CodedItems | None
) -> Iterator[tuple[str, str]]:
    """Say what was diagnosed: the models, their starts, the data behind the Semantic IDs."""
    made = [manifest for manifest in manifests.values() if manifest is not None]
    models = dict.fromkeys(str(m.details["model"]) for m in made if m.details.get("model"))
    if models:
        yield "Model", ", ".join(models)
    starts = dict.fromkeys(str(m.details["initializer"]) for m in made if m.details.get("initializer"))
    if starts:
        yield "Start of the rows", ", ".join(starts)
    ids = space.manifest("semantic_ids") if items is not None else None
    if ids is not None and items is not None:
        tables = ", ".join(dict.fromkeys(Path(entry["path"]).name for entry in ids.inputs.values()))
        codes = " × ".join(map(str, ids.details.get("sizes", [])))
        yield "Data", f"{tables or 'items'}: {len(items.texts):,} items"
        yield "Semantic IDs", f"{codes} codes ({ids.details.get('encoder')}, {ids.details.get('quantizer')})"


def _rsa_rows(series: Sequence[PlotSeries]) -> Iterator[dict[str, Any]]:
    """RSA of each series, over all codes and within each level."""
    for entry in series:
        figures = entry.figures
        overall = {"tokens": figures["rsa_tokens"], **{key: figures[f"rsa_{key}"] for key in _RSA_KEYS}}
        by_level = {f"level {level}": of_level for level, of_level in figures["rsa_levels"].items()}
        for scope, values in {"all codes": overall, **by_level}.items():
            yield {
                "name": entry.name,
                "scope": scope,
                "codes": values["tokens"],
                **{key: values[key] for key in _RSA_KEYS},
                "centred_pearson": values.get("centred_pearson"),
                "centred_p": values.get("centred_p"),
            }


def _word_rows(diagnosis: MatrixDiagnosis, items: CodedItems | None) -> Iterator[dict[str, Any]]:
    """The nearest words of the tokens that most items carry; without items, of the first tokens."""
    names, carriers = diagnosis.checkpoint.rows.tokens.names, diagnosis.checkpoint.carriers
    counts = np.asarray([len(rows) for rows in carriers] if carriers is not None else [0] * len(names))
    for row in np.argsort(-counts, kind="stable")[:TOKENS_SHOWN].tolist():
        words = diagnosis.words.words[row]
        hits = diagnosis.agreement.hits[row] if diagnosis.agreement is not None else np.zeros(len(words))
        texts = []
        if items is not None and carriers is not None:
            texts = [_shortened(items.texts[item]) for item in carriers[row][:_ITEMS_SHOWN]]
        yield {
            "token": names[row],
            "item_count": int(counts[row]),
            "words": list(zip(words, (hits == 1).tolist(), strict=True)),
            "item_texts": texts,
        }


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
