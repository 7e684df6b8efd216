import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import ortho_group

from gti_cli.diagnostics.measure import block_structure, measure, neighbourhood
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import cosine_matrix
from tests.support.diagnostics import CODEBOOK_VECTORS, SIZES, codebooks, new_rows, pretrained

N = sum(SIZES)


def figures_of(kind):
    return measure(new_rows(kind, N).astype(np.float32), pretrained(), CODEBOOK_VECTORS).figures


def test_json_values_only_also_where_nothing_is_defined():
    for kind in ("collapsed", "scattered", "grounded"):
        json.dumps(figures_of(kind), allow_nan=False)
    collapsed = figures_of("collapsed")
    assert collapsed["rsa_pearson"] is None
    assert collapsed["effective_rank"] == pytest.approx(1)
    assert collapsed["effective_rank_centred"] == 0


def test_against_numpy_and_scipy():
    rows = new_rows("grounded", N).astype(np.float32)
    figures = measure(rows, pretrained(), CODEBOOK_VECTORS).figures
    s = np.linalg.svd(rows.astype(float), compute_uv=False)
    assert figures["effective_rank"] == pytest.approx(np.exp(stats.entropy(s)), rel=1e-6)
    assert figures["norm_mean"] == pytest.approx(np.linalg.norm(rows, axis=1).mean())
    upper = np.triu_indices(N, 1)
    ours, theirs = cosine_matrix(rows)[upper], cosine_matrix(np.vstack(codebooks()))[upper]
    assert figures["mean_cosine"] == pytest.approx(ours.mean())
    assert figures["rsa_pearson"] == pytest.approx(stats.pearsonr(ours, theirs).statistic, abs=1e-6)
    assert figures["rsa_spearman"] == pytest.approx(stats.spearmanr(ours, theirs).statistic, abs=1e-6)
    assert figures["rsa_tokens"] == N
    inside = np.triu_indices(6, 1)
    one = stats.pearsonr(cosine_matrix(rows[6:12])[inside], cosine_matrix(codebooks()[1])[inside]).statistic
    level = figures["rsa_levels"]["1"]
    assert level["pearson"] == pytest.approx(one, abs=1e-6)
    assert level["pearson_interval"][0] < one < level["pearson_interval"][1]
    assert figures["rsa_p"] == 0.001
    assert figures["rsa_spearman_error"] == 0


def test_the_reference_has_as_many_rows():
    figures = figures_of("scattered")
    assert figures["pretrained_tokens"] == N
    reference = pretrained()[evenly(100, N)]
    s = np.linalg.svd(reference.astype(float), compute_uv=False)
    assert figures["pretrained_effective_rank"] == pytest.approx(np.exp(stats.entropy(s)), rel=1e-6)


def test_neighbours_leave_the_row_itself_out_also_among_equal_rows():
    rows = pretrained(20)
    rows[1] = rows[0]
    figures = neighbourhood(rows[:3], rows)
    assert figures["nearest_pretrained_cosine_q50"] == pytest.approx(1)
    cosines = cosine_matrix(rows)
    np.fill_diagonal(cosines, -2)
    assert figures["pretrained_nearest_cosine_q25"] == pytest.approx(np.quantile(cosines.max(axis=1), 0.25), abs=1e-6)


def test_without_codebooks_there_is_no_agreement():
    figures = measure(new_rows("scattered", N).astype(np.float32), pretrained()).figures
    assert figures["rsa_pearson"] is None
    assert figures["rsa_tokens"] == 0


def test_block_structure_against_a_loop():
    rows = new_rows("grounded", N)
    levels, parents = np.repeat([0, 1, 2], 6), np.array([-1] * 6 + [0, 0, 1, 1, 2, -1] + [0, 0, 0, 5, 5, 5])
    figures = block_structure(rows.astype(np.float32), levels, parents)
    cosines = cosine_matrix(rows.astype(np.float32))
    pairs = [(i, j) for i in range(N) for j in range(i)]
    for name, expected_pairs in (
        ("level_within", [(i, j) for i, j in pairs if levels[i] == levels[j]]),
        ("level_between", [(i, j) for i, j in pairs if levels[i] != levels[j]]),
        ("parent_within", [(i, j) for i, j in pairs if levels[i] == levels[j] and parents[i] == parents[j] >= 0]),
        (
            "parent_between",
            [
                (i, j)
                for i, j in pairs
                if levels[i] == levels[j] and parents[i] != parents[j] and parents[[i, j]].min() >= 0
            ],
        ),
    ):
        assert figures[f"{name}_cosine"] == pytest.approx(np.mean([cosines[pair] for pair in expected_pairs])), name
    assert figures["parent_contrast"] == figures["parent_within_cosine"] - figures["parent_between_cosine"]
    assert block_structure(rows, None, None) == {}
    assert "parent_contrast" not in block_structure(rows, levels, np.full(N, -1))


@settings(max_examples=10)
@given(st.integers(0, 2**16), st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**20]))
def test_rotation_changes_no_figure_and_scale_changes_only_norms(seed, scale):
    rng = np.random.default_rng(seed)
    new, old = new_rows("grounded", N, seed) + rng.standard_normal((N, 32)) + 1, rng.standard_normal((60, 32)) + 1
    turn = scale * ortho_group.rvs(32, random_state=seed)
    levels, parents = np.repeat([0, 1, 2], SIZES), np.tile([0, 0, 0, 1, 1, 1], 3)
    before, after = (
        measure(a.astype(np.float32), b.astype(np.float32), CODEBOOK_VECTORS, levels=levels, parents=parents).figures
        for a, b in ((new, old), (new @ turn, old @ turn))
    )
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, float):
            factor = scale if "norm" in name or "singular" in name else 1
            assert after[name] == pytest.approx(factor * value, rel=1e-4, abs=1e-4 * factor), name
    for level, entry in before["rsa_levels"].items():
        for name in ("pearson", "spearman", "centred_pearson"):
            assert after["rsa_levels"][level][name] == pytest.approx(entry[name], abs=1e-3), name


def test_centred_rsa_by_hand():
    rows = (new_rows("grounded", N) + 5).astype(np.float32)
    level = measure(rows, pretrained(), CODEBOOK_VECTORS).figures["rsa_levels"]["2"]
    upper = np.triu_indices(6, 1)
    sides = [cosine_matrix(side - side.mean(axis=0))[upper] for side in (rows[12:].astype(float), codebooks()[2])]
    assert level["centred_pearson"] == pytest.approx(stats.pearsonr(*sides).statistic, abs=1e-6)
    assert level["centred_pearson"] > level["pearson"]  # the shared part hid it
    assert 0 < level["centred_p"] < 0.05
    assert 0 < level["spearman_p"] <= 1
