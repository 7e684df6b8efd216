"""`report.html`: tables, pictures and words of a diagnosis on one page that needs no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gti_cli.diagnostics.catalogue import Catalogue
from gti_cli.diagnostics.report_text import GLOSSARY, PICTURES, STYLE
from gti_cli.diagnostics.series import Finding, Series

TOKENS_SHOWN = 12  # new tokens whose nearest words are listed, for each matrix
_TEXT = 70  # characters of an item's text

_SUMMARY = (
    ("tokens", "new tokens"),
    ("effective_rank", "effective rank"),
    ("pretrained_effective_rank", "pretrained rows'"),
    ("stable_rank", "stable rank"),
    ("mean_cosine", "mean cosine"),
    ("rsa_pearson", "RSA r"),
    ("rsa_spearman", "RSA rho"),
    ("rsa_p", "RSA p"),
    ("word_agreement", "word agreement"),
    ("word_agreement_chance", "by chance"),
    ("verdict", "verdict"),
)

_DETAILS = (
    ("effective_rank_centred", "effective rank, mean row taken off"),
    ("participation_ratio", "participation ratio"),
    ("energy_rank_90", "directions that hold 90 % of the energy"),
    ("spectral_decay", "spectral decay (exponent)"),
    ("isotropy", "isotropy (1: even)"),
    ("pretrained_isotropy", "isotropy of pretrained rows"),
    ("pretrained_mean_cosine", "mean cosine of pretrained rows"),
    ("norm_mean", "norm, mean"),
    ("norm_std", "norm, standard deviation"),
    ("pretrained_norm_mean", "norm of pretrained rows, mean"),
    ("nearest_pretrained_cosine_q05", "cosine to the nearest pretrained row, 5 %"),
    ("nearest_pretrained_cosine_q50", "the same, median"),
    ("nearest_pretrained_cosine_q95", "the same, 95 %"),
    ("pretrained_nearest_cosine_q50", "pretrained rows among themselves, median"),
    ("level_contrast", "cosine within levels less between levels"),
    ("parent_contrast", "cosine within parents less between parents"),
)


def write_report(findings: Sequence[Finding], catalogue: Catalogue | None, folder: Path) -> None:
    """Write ``report.html`` into ``folder``, beside the pictures, which go into the page."""
    series = [finding.series for finding in findings]
    body = [
        "<h1>Diagnosis of new tokens</h1>",
        f"<p>{escape(', '.join(entry.name for entry in series))}</p>",
        _table(
            ["checkpoint", *(title for _, title in _SUMMARY)],
            [[entry.name, *(entry.figures.get(key) for key, _ in _SUMMARY)] for entry in series],
        ),
        "<h2>Verdicts</h2>",
        *(_verdict(entry) for entry in series),
        *(_picture(folder, stem) for stem in PICTURES if (folder / f"{stem}.png").is_file()),
        "<h2>Further figures</h2>",
        _table(
            ["", *(entry.name for entry in series)],
            [[title, *(entry.figures.get(key) for entry in series)] for key, title in _DETAILS],
        ),
        *_rsa(series),
        *_moves(series),
        *_words(findings, catalogue),
        GLOSSARY,
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Diagnosis of new tokens</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    (folder / "report.html").write_text(page, "utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return (f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}").replace("-0.000", "0.000")
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = []
    for row in rows:
        cells = "".join(
            f"<td{' class=word' if isinstance(value, str) else ''}>{_cell(value)}</td>" for value in row[1:]
        )
        lines.append(f'<tr><th scope="row">{escape(str(row[0]))}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _verdict(entry: Series) -> str:
    figures = entry.figures
    return (
        f'<p class="verdict"><strong>{escape(entry.name)}: {escape(figures["verdict"])}.</strong> '
        f"Why: {escape(figures['reason'])}. What to do: {escape(figures['advice'])}.</p>"
    )


def _picture(folder: Path, stem: str) -> str:
    title, caption = PICTURES[stem]
    data = base64.b64encode((folder / f"{stem}.png").read_bytes()).decode()
    return (
        f'<h2>{title}</h2>\n<figure tabindex="0"><img alt="{escape(title)}: see the tables for the figures" '
        f'src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _rsa(series: Sequence[Series]) -> list[str]:
    if not any(entry.figures["rsa_tokens"] for entry in series):
        return []
    rows = []
    for entry in series:
        figures = entry.figures
        overall = {"tokens": figures["rsa_tokens"], **{key: figures[f"rsa_{key}"] for key in _RSA_KEYS}}
        scopes = {"all codes": overall, **{f"level {key}": found for key, found in figures["rsa_levels"].items()}}
        for scope, found in scopes.items():
            r, rho = (_with_interval(found[kind], found[f"{kind}_interval"]) for kind in ("pearson", "spearman"))
            cells = [found["tokens"], r, found["p"], rho, found["spearman_p"]]
            rows.append([entry.name, scope, *cells, found.get("centred_pearson"), found.get("centred_p")])
    columns = ["checkpoint", "scope", "codes", "Pearson r (95 %)", "p", "Spearman rho (95 %)", "p"]
    columns += ["centred r", "p"]
    return ["<h2>Agreement with the codebooks, in figures</h2>", _table(columns, rows)]


def _moves(series: Sequence[Series]) -> list[str]:
    """What checkpoints kept of those before them, where they were diagnosed as a trajectory."""
    columns = {
        "previous": "trained from",
        "cka_to_previous": "CKA",
        "cosine_to_previous": "cosine of a row with itself",
        "moved_from_previous": "moved, of its norm",
        "cka_to_start": "CKA with the beginning",
        "cosine_to_start": "cosine with the beginning",
    }
    rows = [[entry.name, *(entry.figures[key] for key in columns)] for entry in series if entry.figures.get("previous")]
    return ["<h2>What training kept</h2>", _table(["checkpoint", *columns.values()], rows)] if rows else []


_RSA_KEYS = ("pearson", "spearman", "p", "spearman_p", "pearson_interval", "spearman_interval")


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    return _cell(value) if interval is None else f"{_cell(value)} ({_cell(interval[0])} to {_cell(interval[1])})"


def _words(findings: Sequence[Finding], catalogue: Catalogue | None) -> list[str]:
    """The nearest words of the tokens that most items carry (without a catalogue: of the first tokens)."""
    parts = [
        "<h2>What the tokens are nearest to</h2>",
        "<p>The pretrained words nearest (the mean pretrained row taken off) to the tokens that most items carry; "
        "words that occur in the texts of these items are bold and underlined.</p>"
        if catalogue is not None
        else "<p>The pretrained words nearest to the first tokens.</p>",
    ]
    for finding in findings:
        tokens, carriers = finding.subject.rows.tokens, finding.subject.carriers
        counts = np.asarray([len(items) for items in carriers] if carriers is not None else [0] * len(tokens.names))
        rows = []
        for row in np.argsort(-counts, kind="stable")[:TOKENS_SHOWN].tolist():
            hits = finding.agreement.hits[row] if finding.agreement is not None else np.zeros(0)
            words = [
                f"<mark>{escape(word)}</mark>" if column < len(hits) and hits[column] == 1 else escape(word)
                for column, word in enumerate(finding.words.words[row])
            ]
            items = ""
            if catalogue is not None and carriers is not None:
                items = "; ".join(escape(_short(catalogue.texts[item])) for item in carriers[row][:2])
            rows.append(
                f'<tr><th scope="row">{escape(tokens.names[row])}</th><td>{counts[row]:,}</td>'
                f"<td>{', '.join(words)}</td><td>{items}</td></tr>"
            )
        head = "".join(
            f'<th scope="col">{name}</th>' for name in ("token", "items", "nearest words", "two of the items")
        )
        parts.append(
            f'<h3>{escape(finding.series.name)}</h3><div class="scroll" tabindex="0"><table class="words">'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )
    return parts


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
