import numpy as np
import pytest

from gti_cli.checkpoints.codebook_vectors import match_codebooks
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.verdict import (
    COLLAPSED,
    COLLAPSED_UP_TO,
    CROWDED,
    CROWDED_UP_TO,
    DISTINCT,
    GROUNDED,
    LEAST_RSA,
    MOST_P,
    PARTLY,
    SCATTERED,
    STRUCTURED,
    judge,
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
        ({"structure": 0.02}, PARTLY, "following the codebooks weakly: RSA"),
        ({"structure": 0.4}, GROUNDED, "following the codebooks: RSA"),
        ({"structure": 1.0}, GROUNDED, "on the pretrained manifold"),
        ({"mean": -MEAN}, SCATTERED, "off the pretrained manifold"),
        ({"mean": -2 * MEAN, "structure": 0.4}, STRUCTURED, "following the codebooks: RSA"),
        ({"spread": 0.0}, COLLAPSED, "effective rank 1.0 is 0 % of the way"),
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
    order = [COLLAPSED, CROWDED, GROUNDED]
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
    assert judge(figures).grade not in (GROUNDED, PARTLY, STRUCTURED)


@pytest.mark.parametrize("kind", ["collapsed", "grounded"])
def test_few_codes_of_a_level_are_enough(kind):
    assert judge(measure(new_rows(kind, N).astype(np.float32), pretrained(), CODEBOOK_VECTORS).figures).grade == kind


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
        ({}, GROUNDED, "RSA r = 0.30 within level 0 (p = 0.001, the best of 2 levels, needs r of at least 0.1"),
        ({"effective_rank": 1 + COLLAPSED_UP_TO * 199}, COLLAPSED, "effective rank"),
        ({"effective_rank": 1.1 + COLLAPSED_UP_TO * 199}, CROWDED, "RSA r = 0.30"),
        ({"effective_rank": 1 + CROWDED_UP_TO * 199}, CROWDED, ""),
        ({"effective_rank": 1.1 + CROWDED_UP_TO * 199}, GROUNDED, ""),
        ({"rsa_levels": {"0": level(LEAST_RSA, MOST_P)}}, GROUNDED, "with p of at most 0.01"),
        ({"rsa_levels": {"0": level(LEAST_RSA - 0.01, MOST_P)}}, PARTLY, "weakly"),
        ({"rsa_levels": {"0": level(0.5, MOST_P + 0.001)}}, DISTINCT, "not following"),
        ({"rsa_levels": {"0": level(0.5, 0.006), "1": level(0.0, 0.5)}}, DISTINCT, "with p of at most 0.005"),
        ({"rsa_levels": {"0": level(0.0, 0.6), "1": level(0.3, 0.001)}}, GROUNDED, "within level 1"),
        ({"rsa_levels": {"0": level(None, None)}}, DISTINCT, "RSA undefined"),
        ({"rsa_levels": {}}, GROUNDED, "over all codes"),
        ({"rsa_levels": {}, "rsa_pearson": None, "rsa_p": None, "rsa_tokens": 0}, DISTINCT, "no codebooks"),
        (OFF, STRUCTURED, "is 0.39, less than the 0.40 that 95 %"),
        ({**OFF, "rsa_levels": {"0": level(0.05, 0.001)}}, SCATTERED, "weakly"),
        ({**OFF, "rsa_levels": {}, "rsa_pearson": None, "rsa_tokens": 0}, SCATTERED, "off the pretrained manifold"),
        ({"word_agreement": 0.17, "word_agreement_chance": 0.09}, GROUNDED, "17 % of their nearest words"),
    ],
)
def test_thresholds(change, grade, says):
    verdict = judge({**FIGURES, **change})
    assert verdict.grade == grade
    assert says in verdict.reason


def test_four_tokens_of_one_point_have_collapsed():
    rows = new_rows("collapsed", 4).astype(np.float32)
    assert judge(measure(rows, pretrained()).figures).grade == COLLAPSED
