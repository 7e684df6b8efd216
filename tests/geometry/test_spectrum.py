import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.stats import entropy, ortho_group

from gti_cli.geometry.spectrum import (
    both_spectra,
    effective_rank,
    energy_rank,
    isotropy,
    participation_ratio,
    singular_values,
    spectral_decay,
    stable_rank,
)

FIGURES = (effective_rank, stable_rank, participation_ratio)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))


def noise(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_agrees_with_scipy_and_the_definitions(case):
    n, d, seed = case
    rows = noise(n, d, seed).astype(np.float32)
    for centred in (False, True):
        matrix = rows.astype(np.float64) - (rows.astype(np.float64).mean(axis=0) if centred else 0)
        s = linalg.svd(matrix, compute_uv=False)
        found = singular_values(rows, centred=centred)
        np.testing.assert_allclose(found, s, atol=1e-10)
        if n == 1 and centred:
            continue  # nothing is left
        np.testing.assert_allclose(effective_rank(rows, centred=centred), np.exp(entropy(s)), rtol=1e-6)
        assert stable_rank(rows, centred=centred) == pytest.approx(np.sum(matrix**2) / s[0] ** 2)
        covariance = matrix.T @ matrix
        expected = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
        assert participation_ratio(rows, centred=centred) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(shapes, st.floats(1e-30, 1e30))
def test_rotation_order_and_scale_change_nothing(case, scale):
    n, d, seed = case
    rows = noise(n, d, seed)
    turned = rows @ ortho_group.rvs(d, random_state=seed % 1000) if d > 1 else -rows
    for figure in (*FIGURES, energy_rank):
        for centred in (False, True):
            expected = figure(rows, centred=centred)
            assert figure(turned, centred=centred) == pytest.approx(expected, rel=1e-6)
            assert figure(scale * rows, centred=centred) == pytest.approx(expected, rel=1e-6)
            assert figure(np.random.default_rng(seed).permutation(rows), centred=centred) == pytest.approx(
                expected, rel=1e-6
            )


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_the_figures_are_ordered_and_bounded(case):
    rows = noise(*case)
    stable, participation, effective = stable_rank(rows), participation_ratio(rows), effective_rank(rows)
    assert 1 - 1e-9 <= stable <= participation + 1e-9 <= min(rows.shape) + 1e-6
    assert 1 - 1e-9 <= effective <= min(rows.shape) + 1e-6


@pytest.mark.parametrize("figure", FIGURES)
def test_known_answers(figure):
    assert figure(np.eye(7)) == pytest.approx(7)
    assert figure(np.outer(np.arange(1, 6), np.arange(1, 9))) == pytest.approx(1)
    assert figure(np.kron(np.eye(3), np.ones((4, 5)))) == pytest.approx(3)  # three blocks of equal rows
    assert figure(np.zeros((4, 3))) == 0
    assert figure(np.ones((50, 8)), centred=True) == 0  # equal rows: nothing is left, not the rounding error's rank
    assert figure(np.eye(7), centred=True) == pytest.approx(6)


def test_effective_rank_of_unequal_values():
    assert effective_rank(np.array([3.0, 1.0])) == pytest.approx(np.exp(entropy([0.75, 0.25])))
    assert effective_rank(np.array([1.0, 3.0, 0.0])) == effective_rank(np.array([3.0, 1.0]))


def test_equal_rows_in_float32_have_no_centred_spectrum():
    rows = np.repeat(noise(1, 300).astype(np.float32), 500, axis=0)
    assert singular_values(rows, centred=True).max() == 0
    assert effective_rank(rows) == pytest.approx(1, abs=1e-9)


def test_rows_that_are_one_point_plus_a_little_noise():
    rows = noise(1, 64) + 1e-6 * noise(200, 64, 1)
    assert effective_rank(rows) < 1.01  # collapsed, as the raw figure says
    assert effective_rank(rows, centred=True) > 50  # the noise that is left has full rank


def test_noise_uses_most_directions():
    assert 0.9 * 50 < effective_rank(noise(2000, 50)) <= 50


def test_decay_of_a_power_law():
    k = np.arange(1, 101)
    assert spectral_decay(k**-1.5) == pytest.approx(1.5)
    assert spectral_decay(np.eye(9)) == pytest.approx(0, abs=1e-9)
    assert np.isnan(spectral_decay(np.outer([1.0, 2.0], [1.0, 2.0])))


def test_energy_rank():
    assert energy_rank(np.eye(10)) == 9
    assert energy_rank(np.eye(10), 1.0) == 10
    assert energy_rank(np.array([10.0, 1.0])) == 1
    assert energy_rank(np.zeros((2, 2))) == 0


@pytest.mark.parametrize(
    "rows", [np.ones((2, 2, 2)), np.ones((0, 3)), np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]])]
)
def test_refuses_what_is_no_finite_matrix(rows):
    with pytest.raises(ValueError, match=r"rows|matrix"):
        effective_rank(rows)


def test_refuses_impossible_requests():
    with pytest.raises(ValueError, match="centring"):
        effective_rank(np.array([1.0, 2.0]), centred=True)
    with pytest.raises(ValueError, match="negative"):
        stable_rank(np.array([1.0, -2.0]))
    with pytest.raises(ValueError, match="share"):
        energy_rank(np.eye(2), 0.0)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(1e-6, 1e6))
def test_isotropy_against_its_definition(case, scale):
    rows = noise(*case)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    axes = np.linalg.svd(units, full_matrices=True)[2]
    sums = [np.exp(sign * units @ axis).sum() for axis in axes for sign in (1, -1)]
    expected = min(sums) / max(sums)
    assert isotropy(scale * rows) == pytest.approx(expected, rel=1e-6)


def test_isotropy_of_known_sets():
    assert isotropy(np.ones((9, 4))) == pytest.approx(np.exp(-2))
    assert isotropy(noise(4000, 8)) > 0.9
    assert np.isnan(isotropy(np.zeros((3, 3))))


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_both_spectra_at_once(case):
    rows = noise(*case) + 3
    for found, centred in zip(both_spectra(rows), (False, True), strict=True):
        np.testing.assert_allclose(found, singular_values(rows, centred=centred), atol=1e-10)


def test_both_spectra_of_equal_rows():
    raw, centred = both_spectra(np.repeat(noise(1, 300).astype(np.float32), 500, axis=0))
    assert effective_rank(raw) == pytest.approx(1, abs=1e-9)
    assert centred.max() == 0


@pytest.mark.parametrize("shape", [(30, 90), (90, 30), (40, 40), (2, 50), (50, 2), (1, 7)])
@pytest.mark.parametrize("smallest", [1e-2, 1.1e-4, 1e-5, 1e-9])
def test_both_spectra_are_numpys_however_fast_they_fall(shape, smallest):
    """Above 1e-4 of the largest the values come from a Gram matrix, below it from a QR decomposition."""
    k = min(shape)
    left, right = (np.linalg.qr(noise(size, k, size))[0] for size in shape)
    rows = (left * np.geomspace(1, smallest, k)) @ right.T + 0.3
    raw, centred = both_spectra(rows)
    np.testing.assert_allclose(raw, np.linalg.svd(rows, compute_uv=False), rtol=3e-8, atol=1e-14)
    wanted = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(centred[: shape[0] - 1], wanted[: shape[0] - 1], rtol=3e-8, atol=3e-14)
    if shape[0] > 1:
        assert effective_rank(centred) == pytest.approx(np.exp(entropy(wanted)), rel=1e-6)
