import numpy as np
import pytest

from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.verdict import COLLAPSED, DISTINCT, GROUNDED, SCATTERED, judge
from tests.diagnostics.made import SIZES, new_rows
from tests.diagnostics.test_measure import ORACLE, pretrained

N = sum(SIZES)


@pytest.mark.parametrize("kind", [COLLAPSED, SCATTERED, GROUNDED])
def test_constructed_rows_get_their_word(kind):
    verdict = judge(measure(new_rows(kind, N).astype(np.float32), pretrained(), ORACLE))
    assert verdict.word == kind
    assert verdict.reason
    assert verdict.advice


def test_one_point_plus_noise_is_collapsed():
    rows = new_rows("collapsed", N) + 1e-4 * new_rows("grounded", N)  # structured noise, r = 1, and still one point
    assert judge(measure(rows.astype(np.float32), pretrained(), ORACLE)).word == COLLAPSED


def test_without_codebooks_the_manifold_decides():
    base = pretrained() + 2  # a shared direction: the manifold
    near = base[:N] + 0.1 * new_rows("scattered", N)
    assert judge(measure(near.astype(np.float32), base)).word == DISTINCT
    assert judge(measure(new_rows("scattered", N).astype(np.float32), base)).word == SCATTERED
