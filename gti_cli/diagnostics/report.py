"""`report.html`: figures, pictures and nearest words of a diagnosis on one page without network access or scripts.

This module prepares the data. The page and its fixed words are ``templates/report.html.jinja``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gti_cli.diagnostics.coded_items import CodedItems
from gti_cli.diagnostics.matrix_diagnosis import MatrixDiagnosis, PlotSeries
from gti_cli.diagnostics.verdict import COLLAPSED_UP_TO, CROWDED_UP_TO, LEAST_RSA, MOST_P

PICTURES = ("spectrum", "cosine", "hierarchy", "rsa", "trajectory")
TOKENS_SHOWN = 12  # new tokens whose nearest words are listed, for each matrix
_ITEMS_SHOWN = 2  # texts of items listed for each token
_TEXT = 70  # characters of an item's text
_RSA_KEYS = ("pearson", "spearman", "p", "spearman_p", "pearson_interval", "spearman_interval")


def write_report(diagnoses: Sequence[MatrixDiagnosis], items: CodedItems | None, folder: Path) -> None:
    """Write ``report.html`` into ``folder``, with the pictures that lie there embedded.

    Args:
        diagnoses: The diagnoses of all matrices, in the order of the page.
        items: The items of the workspace. None: the nearest words are shown without items.
        folder: The folder of the diagnosis.
    """
    # Jinja is needed for this page alone, so it is not loaded with the module.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gti_cli.diagnostics", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(figure=format_figure, interval=format_interval)
    series = [diagnosis.series for diagnosis in diagnoses]
    page = environment.get_template("report.html.jinja").render(
        series=series,
        pictures={stem: data for stem in PICTURES if (data := _picture(folder / f"{stem}.png")) is not None},
        rsa_rows=list(_rsa_rows(series)) if any(entry.figures["rsa_tokens"] for entry in series) else [],
        trained=[entry for entry in series if entry.figures.get("previous")],
        word_tables=[
            {"name": diagnosis.series.name, "rows": list(_word_rows(diagnosis, items))} for diagnosis in diagnoses
        ],
        has_items=items is not None,
        thresholds={"collapsed": COLLAPSED_UP_TO, "crowded": CROWDED_UP_TO, "rsa": LEAST_RSA, "p": MOST_P},
        percent=lambda share: f"{100 * share:.0f}",
    )
    (folder / "report.html").write_text(page, "utf-8")


def format_figure(value: Any) -> str:
    """A cell of a table: three decimals for small numbers, one for large ones, a dash for None; text stays as it is."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return (f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}").replace("-0.000", "0.000")
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_interval(ends: Sequence[float] | None) -> str:
    """The ends of an interval in parentheses, to follow a figure; empty without an interval."""
    return "" if ends is None else f" ({format_figure(ends[0])} to {format_figure(ends[1])})"


def _picture(path: Path) -> str | None:
    """A picture as a data URI; None where there is no such file."""
    if not path.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


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
