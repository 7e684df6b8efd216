import numpy as np
import pytest

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.diagnostics.history import FoundAccuracy, History
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.verdict import (
    ALIGNED,
    CAVEAT,
    COLLAPSED,
    COLLAPSED_UP_TO,
    CROWDED,
    CROWDED_UP_TO,
    DISTINCT,
    EXPLANATIONS,
    GROUNDED,
    LEAST_RSA,
    MOST_P,
    SCATTERED,
    STRUCTURED,
    WEAKLY_ALIGNED,
    deciding_rsa,
    judge,
    rsa_figures,
)
from tests.support.diagnostics import CODEBOOK_VECTORS, SIZES, new_rows, pretrained, tokens_of

N = sum(SIZES)
CODES, WIDTH = 100, 64  # of each of two levels; enough for every grade
MEAN = 0.3  # of each entry of the pretrained rows: the direction that all share


def constructed(structure=0.0, spread=1.0, mean=MEAN, seed=0):
    """Figures of rows about ``mean``, of which a share ``structure`` of the variance follows the codebooks."""
    rng = np.random.default_rng(seed)
    books = [rng.standard_normal((CODES, 16)).astype(np.float32) for _ in range(2)]
    image = np.vstack(books) @ rng.standard_normal((16, WIDTH)) / 4
    rows = np.sqrt(structure) * image + np.sqrt(1 - structure) * rng.standard_normal(image.shape)
    old = rng.standard_normal((1000, WIDTH)) + MEAN
    codebook_vectors = match_codebooks(tokens_of(np.repeat([0, 1], CODES), np.tile(np.arange(CODES), 2)), books, "x")
    return measure((spread * rows + mean).astype(np.float32), old.astype(np.float32), codebook_vectors).figures


@pytest.mark.parametrize(
    ("made", "grade", "says"),
    [
        ({}, DISTINCT, "not following the codebooks: RSA"),
        ({"structure": 0.02}, WEAKLY_ALIGNED, "weakly following the codebooks: RSA"),
        ({"structure": 0.4}, ALIGNED, "following the codebooks: RSA"),
        ({"structure": 1.0}, ALIGNED, "among the pretrained rows"),
        ({"mean": -MEAN}, SCATTERED, "away from the pretrained rows"),
        ({"mean": -2 * MEAN, "structure": 0.4}, STRUCTURED, "following the codebooks: RSA"),
        ({"spread": 0.0}, COLLAPSED, "effective rank 1.0, 0 % of the way"),
        ({"spread": 1e-3, "structure": 1.0}, COLLAPSED, "up to 5 % is collapsed"),
        ({"spread": 0.03, "structure": 0.4}, CROWDED, "up to 20 % crowded"),
    ],
)
def test_constructed_rows_get_their_grade(made, grade, says):
    verdict = judge(constructed(**made))
    assert verdict.grade == grade, verdict.reason
    assert says in verdict.reason
    assert verdict.advice


def test_grades_come_in_order_as_rows_spread():
    grades = [judge(constructed(0.5, spread)).grade for spread in np.geomspace(1e-3, 1, 12)]
    order = [COLLAPSED, CROWDED, ALIGNED]
    places = [order.index(grade) for grade in grades]
    assert places == sorted(places)
    assert set(grades) == set(order)


def test_a_difference_between_levels_alone_is_no_structure():
    """Levels far apart correlate with the codebooks of any residual quantizer; the codes within them are noise."""
    rng = np.random.default_rng(3)
    apart = np.repeat(2 * rng.standard_normal((2, WIDTH)), CODES, axis=0)
    books = [rng.standard_normal((CODES, 16)).astype(np.float32) + 3 * level for level in range(2)]
    codebook_vectors = match_codebooks(tokens_of(np.repeat([0, 1], CODES), np.tile(np.arange(CODES), 2)), books, "x")
    rows, old = apart + rng.standard_normal(apart.shape), rng.standard_normal((1000, WIDTH))
    figures = measure(rows.astype(np.float32), old.astype(np.float32), codebook_vectors).figures
    assert figures["rsa_pearson"] > LEAST_RSA
    assert judge(figures).grade not in (ALIGNED, WEAKLY_ALIGNED, STRUCTURED)


@pytest.mark.parametrize(("kind", "grade"), [("collapsed", COLLAPSED), ("grounded", ALIGNED)])
def test_few_codes_of_a_level_are_enough(kind, grade):
    assert judge(measure(new_rows(kind, N).astype(np.float32), pretrained(), CODEBOOK_VECTORS).figures).grade == grade


def test_without_codebooks_the_manifold_decides():
    base = pretrained() + 2  # a shared direction: the manifold
    near = base[:N] + 0.1 * new_rows("scattered", N)
    verdict = judge(measure(near.astype(np.float32), base).figures)
    assert verdict.grade == DISTINCT
    assert "no codebooks" in verdict.reason
    assert "--codebooks" in verdict.advice
    assert judge(measure(new_rows("scattered", N).astype(np.float32), base).figures).grade == SCATTERED


def level(r, p):
    return {"centred_pearson": r, "centred_p": p}


FIGURES = {
    "effective_rank": 100.0,
    "pretrained_effective_rank": 200.0,
    "mean_cosine": 0.3,
    "nearest_pretrained_cosine_q50": 0.5,
    "pretrained_nearest_cosine_q05": 0.4,
    "rsa_tokens": 300,
    "rsa_pearson": 0.3,
    "rsa_p": 0.001,
    "rsa_levels": {"0": level(0.3, 0.001), "1": level(0.0, 0.6)},
}
OFF = {"nearest_pretrained_cosine_q50": 0.39}


@pytest.mark.parametrize(
    ("change", "grade", "says"),
    [
        ({}, ALIGNED, "RSA 0.30 within level 0, p = 0.001 (needs 0.1, p up to 0.005)"),
        ({"effective_rank": 1 + COLLAPSED_UP_TO * 199}, COLLAPSED, "effective rank"),
        ({"effective_rank": 1.1 + COLLAPSED_UP_TO * 199}, CROWDED, "RSA 0.30"),
        ({"effective_rank": 1 + CROWDED_UP_TO * 199}, CROWDED, ""),
        ({"effective_rank": 1.1 + CROWDED_UP_TO * 199}, ALIGNED, ""),
        ({"rsa_levels": {"0": level(LEAST_RSA, MOST_P)}}, ALIGNED, "p up to 0.01)"),
        ({"rsa_levels": {"0": level(LEAST_RSA - 0.01, MOST_P)}}, WEAKLY_ALIGNED, "weakly"),
        ({"rsa_levels": {"0": level(0.5, MOST_P + 0.001)}}, DISTINCT, "not following"),
        ({"rsa_levels": {"0": level(0.5, 0.006), "1": level(0.0, 0.5)}}, DISTINCT, "p up to 0.005)"),
        ({"rsa_levels": {"0": level(0.0, 0.6), "1": level(0.3, 0.001)}}, ALIGNED, "within level 1"),
        ({"rsa_levels": {"0": level(None, None)}}, DISTINCT, "RSA with the codebooks is undefined"),
        ({"rsa_levels": {}}, ALIGNED, "over all codes"),
        ({"rsa_levels": {}, "rsa_pearson": None, "rsa_p": None, "rsa_tokens": 0}, DISTINCT, "no codebooks"),
        (OFF, STRUCTURED, "median cosine 0.39 to the nearest one (0.40 or more is usual)"),
        ({**OFF, "rsa_levels": {"0": level(0.05, 0.001)}}, SCATTERED, "weakly"),
        ({**OFF, "rsa_levels": {}, "rsa_pearson": None, "rsa_tokens": 0}, SCATTERED, "away from the pretrained rows"),
        ({"word_agreement": 0.17, "word_agreement_chance": 0.09}, ALIGNED, "17 % of the nearest words"),
    ],
)
def test_thresholds(change, grade, says):
    verdict = judge({**FIGURES, **change})
    assert verdict.grade == grade
    assert says in verdict.reason


def test_four_tokens_of_one_point_have_collapsed():
    rows = new_rows("collapsed", 4).astype(np.float32)
    assert judge(measure(rows, pretrained()).figures).grade == COLLAPSED


START = History("extended", ("extend",), True, "text-lstsq")
TUNED = History("mean", ("finetune", "extend"), True, "mean")
GTI = History("gti", ("finetune", "ground", "extend"), True, "mean")


def evaluated(history, value, interval=None, popularity=0.05):
    accuracy = FoundAccuracy("evaluation/x", "recall@10", value, interval, popularity)
    return History(history.name, history.commands, history.complete, history.initializer, accuracy)


@pytest.mark.parametrize(
    ("history", "grade", "says"),
    [
        (History(), ALIGNED, None),  # from elsewhere: nothing says that it was grounded
        (START, ALIGNED, "made by extend (--init text-lstsq), never grounded"),
        (TUNED, ALIGNED, "made by extend (--init mean), then finetune, never grounded"),
        (GTI, GROUNDED, "made by extend (--init mean), then ground, then finetune"),
        (History("x", ("ground",)), GROUNDED, "made by ground"),
        (History("x", ("finetune",)), ALIGNED, "made by finetune"),  # what came before it is not known
    ],
)
def test_grounded_are_only_rows_that_were_grounded(history, grade, says):
    verdict = judge(FIGURES, history)
    assert verdict.grade == grade
    assert says is None or verdict.reason.endswith(says)
    weak = judge({**FIGURES, "rsa_levels": {"0": level(0.05, 0.001)}}, history)
    assert weak.grade == WEAKLY_ALIGNED


COLLAPSED_FIGURES = {"effective_rank": 1.0, "mean_cosine": 1.0}


@pytest.mark.parametrize(
    ("change", "history", "advice"),
    [
        ({}, START, "fine-tune from it ('gti finetune --from extended')"),
        ({}, TUNED, "measure how well it recommends ('gti evaluate mean')"),
        ({}, History("elsewhere"), "measure how well it recommends ('gti evaluate elsewhere')"),
        (
            {},
            evaluated(TUNED, 0.04),
            "train it for longer: Recall@10 0.0400 is below popularity's 0.0500 (evaluation/x)",
        ),
        ({}, evaluated(TUNED, 0.06), "nothing: Recall@10 0.0600 is above popularity's 0.0500 (evaluation/x)"),
        ({}, evaluated(TUNED, 0.06, (0.051, 0.07)), "nothing: Recall@10 0.0600"),
        ({}, evaluated(TUNED, 0.06, (0.05, 0.07)), "0.0600 cannot be told from popularity's 0.0500"),
        ({}, evaluated(TUNED, 0.04, popularity=None), "measure how well it recommends"),
        ({}, evaluated(START, 0.01), "train it for longer"),
        (COLLAPSED_FIGURES, START, "start the rows from the items' texts"),
        (COLLAPSED_FIGURES, TUNED, "its rows at a higher rate"),
        (COLLAPSED_FIGURES, evaluated(TUNED, 0.04), "its rows at a higher rate"),
        (COLLAPSED_FIGURES, evaluated(TUNED, 0.06), "but the rows are collapsed"),
        (
            {"rsa_levels": {"0": level(0.0, 0.6)}},
            History("random", ("ground", "extend"), True),
            "or ground them for longer ('gti ground')",
        ),
        ({"rsa_levels": {"0": level(0.0, 0.6)}}, START, "for a short training, first start the rows from the items'"),
        ({"rsa_levels": {}, "rsa_pearson": None, "rsa_tokens": 0}, History("x"), "--codebooks FILE"),
        ({"rsa_levels": {}, "rsa_pearson": None, "rsa_tokens": 0}, TUNED, "measure how well it recommends"),
    ],
)
def test_advice_follows_the_evaluation_where_there_is_one(change, history, advice):
    assert advice in judge({**FIGURES, **change}, history).advice


def test_good_geometry_does_not_excuse_recommendations_below_popularity():
    assert "nothing" not in judge(FIGURES, evaluated(GTI, 0.04)).advice


def test_the_deciding_correlation_is_a_figure_of_its_own():
    figures = {**FIGURES, "rsa_levels": {"0": level(0.5, 0.3), "1": level(0.2, 0.001)}}
    rsa = deciding_rsa(figures)
    assert rsa_figures(rsa) == {
        "deciding_rsa_level": "1",  # the larger one may be chance
        "deciding_rsa_r": 0.2,
        "deciding_rsa_p": 0.001,
        "deciding_rsa_most_p": MOST_P / 2,
    }
    assert "RSA 0.20 within level 1, p = 0.001" in judge(figures).reason
    assert set(rsa_figures(deciding_rsa({"rsa_levels": {}})).values()) == {None}


def test_every_grade_is_explained_in_a_sentence_without_its_own_name():
    grades = {COLLAPSED, CROWDED, SCATTERED, DISTINCT, STRUCTURED, WEAKLY_ALIGNED, ALIGNED, GROUNDED}
    assert set(EXPLANATIONS) == grades
    for grade, sentence in EXPLANATIONS.items():
        assert grade not in sentence.split()
        assert not sentence.endswith(".")
    assert "how well" in CAVEAT
