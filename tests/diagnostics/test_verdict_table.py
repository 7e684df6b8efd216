"""Verdicts as pages show them."""

from gti_cli.diagnostics.verdict import EXPLANATIONS
from gti_cli.diagnostics.verdict_table import advices_of, evaluation_sentence, grades_of, verdict_rows
from gti_cli.workspace import Workspace


def figures(grade, **more):
    levels = {
        "0": {"centred_pearson": 0.3, "centred_p": 0.01},
        "1": {"centred_pearson": 0.2, "centred_p": 0.001},
        "2": {"centred_pearson": None, "centred_p": None},
    }
    ranks = {"effective_rank": 12.34, "pretrained_effective_rank": 20.0}
    place = {"nearest_pretrained_cosine_q50": 0.5, "pretrained_nearest_cosine_q05": 0.25}
    return {"verdict": grade, "reason": "r", "advice": "a", "rsa_levels": levels, **ranks, **place, **more}


def test_a_row_for_each_matrix_with_the_figures_that_decide():
    tied, output = figures("grounded", word_agreement=0.5, word_agreement_chance=0.25), figures("collapsed")
    metrics = {"one": tied, "two": {**figures("grounded"), "output": {**output, "rsa_levels": {}}}}
    first, second, third = verdict_rows(metrics, ["one", "two"], {"one": "found"})
    assert [row.name for row in (first, second, third)] == ["one", "two (input)", "two (output)"]
    assert (first.directions, first.place) == ("12.3 of 20.0", "0.50 (needs 0.25)")
    assert first.codebooks == "0.20 in level 1 (p 0.001)"
    assert (first.words, third.words) == ("50 % (chance 25 %)", "–")
    assert (first.evaluation, second.evaluation) == ("found", "")
    assert (first.tone, third.tone, third.codebooks) == ("good", "bad", "–")
    grades = grades_of([first, second, third])
    assert advices_of([first, second, third]) == [("a", ["one", "two (input)", "two (output)"])]
    assert [(grade, len(rows)) for grade, _, rows in grades] == [("grounded", 2), ("collapsed", 1)]


def test_grades_of_this_and_of_an_earlier_version_are_explained():
    rows = verdict_rows(
        {name: figures(name) for name in (*EXPLANATIONS, "partly grounded", "unheard of")},
        [*EXPLANATIONS, "partly grounded", "unheard of"],
        {},
    )
    explained = {grade: sentence for grade, sentence, _ in grades_of(rows)}
    assert explained.pop("unheard of") == "" and all(explained.values())
    assert {grade: explained[grade] for grade in EXPLANATIONS} == EXPLANATIONS


def test_what_evaluations_found(tmp_path):
    space = Workspace(tmp_path)
    with space.stage("finetune", "gti", ["gti.txt"], options={}) as run:
        run.path("gti.txt").write_text("x")
    checkpoint = run.result()
    assert evaluation_sentence(space, checkpoint) == evaluation_sentence(space, None) == ""
    metrics = {"metrics": {"ndcg@5": 0.1, "ndcg@20": 0.2}, "baselines": {"a": {"ndcg@5": 0.05}, "b": {"ndcg@5": 0.3}}}
    with space.stage("evaluate", "evaluation/x", ["evaluation/x"], options={}, upstream={"gti": checkpoint}) as run:
        run.path("evaluation/x").mkdir(parents=True)
        run.metrics.update(metrics)
    assert evaluation_sentence(space, checkpoint) == "NDCG@5 0.100, below b (0.300)"


def test_the_correlation_that_decided_is_shown_where_a_diagnosis_names_it():
    decided = {"deciding_rsa_r": 0.25, "deciding_rsa_p": 0.004, "deciding_rsa_level": None}
    (row,) = verdict_rows({"x": figures("distinct", **decided)}, ["x"], {})
    assert (row.codebooks, row.tone) == ("0.25 over all codes (p 0.004)", "middle")
