import numpy as np
import pytest

from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.verdict import COLLAPSED, DISTINCT, GROUNDED, LEAST_RSA, LOW_RANK, MOST_P, SCATTERED, judge
from tests.diagnostics.made import SIZES, new_rows
from tests.diagnostics.test_measure import ORACLE, pretrained

N = sum(SIZES)


@pytest.mark.parametrize("kind", [COLLAPSED, SCATTERED, GROUNDED])
def test_constructed_rows_get_their_word(kind):
    verdict = judge(measure(new_rows(kind, N).astype(np.float32), pretrained(), ORACLE).figures)
    assert verdict.word == kind
    assert verdict.reason
    assert verdict.advice


def test_one_point_plus_noise_is_collapsed():
    rows = new_rows("collapsed", N) + 1e-4 * new_rows("grounded", N)  # structured noise, r = 1, and still one point
    assert judge(measure(rows.astype(np.float32), pretrained(), ORACLE).figures).word == COLLAPSED


def test_without_codebooks_the_manifold_decides():
    base = pretrained() + 2  # a shared direction: the manifold
    near = base[:N] + 0.1 * new_rows("scattered", N)
    assert judge(measure(near.astype(np.float32), base).figures).word == DISTINCT
    assert judge(measure(new_rows("scattered", N).astype(np.float32), base).figures).word == SCATTERED


def rotated_codebooks(share, seed=0):
    """Rows of which ``share`` is a linear image of the codebooks and the rest noise."""
    return share * new_rows("grounded", N) / 3 + (1 - share) * new_rows("scattered", N, seed + 5)


@pytest.mark.parametrize(("share", "word"), [(0.0, SCATTERED), (0.1, SCATTERED), (0.7, GROUNDED), (1.0, GROUNDED)])
def test_the_word_follows_the_share_of_structure(share, word):
    assert judge(measure(rotated_codebooks(share).astype(np.float32), pretrained(), ORACLE).figures).word == word


FIGURES = {
    "effective_rank": 100.0,
    "pretrained_effective_rank": 200.0,
    "mean_cosine": 0.3,
    "nearest_pretrained_cosine_q50": 0.5,
    "pretrained_nearest_cosine_q05": 0.4,
    "rsa_pearson": 0.3,
    "rsa_p": 0.001,
    "rsa_levels": {},
}


@pytest.mark.parametrize(
    ("change", "word", "says"),
    [
        ({}, GROUNDED, "follow the codebooks"),
        ({"effective_rank": 1 + LOW_RANK * 199}, COLLAPSED, "effective rank"),
        ({"effective_rank": 1.1 + LOW_RANK * 199}, GROUNDED, ""),
        ({"rsa_pearson": LEAST_RSA}, GROUNDED, ""),
        ({"rsa_pearson": LEAST_RSA - 0.01}, SCATTERED, "hardly follow"),
        ({"rsa_p": MOST_P + 0.01}, SCATTERED, "do not follow"),
        ({"rsa_pearson": 0.02, "rsa_levels": {"0": {"pearson": 0.3, "p": 0.002}}}, GROUNDED, "first level"),
        ({"rsa_pearson": 0.02, "rsa_levels": {"1": {"pearson": 0.3, "p": 0.002}}}, SCATTERED, ""),
        ({"rsa_pearson": None, "rsa_p": None}, DISTINCT, "on the pretrained manifold"),
        (
            {"rsa_pearson": None, "rsa_p": None, "nearest_pretrained_cosine_q50": 0.39},
            SCATTERED,
            "off the pretrained manifold",
        ),
    ],
)
def test_thresholds(change, word, says):
    verdict = judge({**FIGURES, **change})
    assert verdict.word == word
    assert says in verdict.reason


def test_four_tokens_of_one_point_have_collapsed():
    rows = new_rows("collapsed", 4).astype(np.float32)
    assert judge(measure(rows, pretrained()).figures).word == COLLAPSED
