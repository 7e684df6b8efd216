from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gti_cli.diagnostics.matrix_diagnosis import PlotSeries
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.pictures import plots
from gti_cli.diagnostics.pictures.hierarchy import binned_cosines
from gti_cli.geometry.similarity import cosine_matrix
from tests.support.diagnostics import CODEBOOK_VECTORS, SIZES, badly_placed, new_rows, pretrained

LEVELS = np.repeat([0, 1, 2], SIZES).astype(np.int32)


def series(kind, name=None, codebook_vectors=CODEBOOK_VECTORS, levels=LEVELS):
    return replace(_series(kind, codebook_vectors is not None, tuple(levels.tolist())), name=name or kind)


@cache  # the figures take most of the time, and many tests draw the same ones
def _series(kind, with_codebooks, levels):
    levels = np.asarray(levels, np.int32)
    codebook_vectors = CODEBOOK_VECTORS if with_codebooks else None
    new, old = new_rows(kind, len(levels)).astype(np.float32), pretrained()
    measured = measure(new, old, codebook_vectors, levels=levels)
    return PlotSeries(
        name=kind,
        figures=measured.figures,
        singular_values=measured.singular_values,
        pretrained_singular_values=measured.pretrained_singular_values,
        cosines=cosine_matrix(np.vstack([old[:10], new[:10]])),
        shown=[""] * 20,
        levels=levels[:10],
        image=binned_cosines(new),
        image_levels=levels,
    )


PLOTS = (plots.plot_spectrum, plots.plot_cosines, plots.plot_hierarchy, plots.plot_rsa)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_nothing_overlaps_and_nothing_is_cut_off(count, monkeypatch):
    kinds = ["grounded", "collapsed", "scattered"]
    all_series = [series(kinds[i % 3], f"a-rather-long-checkpoint-name/number-{i}-of-them") for i in range(count)]
    for plot in PLOTS:
        assert not badly_placed(plot(all_series), monkeypatch)


def test_same_figures_same_bytes(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        names = plots.plot_all([series("grounded"), series("collapsed")], folder)
    assert names == [f"{stem}.{end}" for stem in ("spectrum", "cosine", "hierarchy", "rsa") for end in ("png", "svg")]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a" / "spectrum.svg").read_bytes()


def test_no_rsa_picture_without_codebooks(tmp_path):
    assert "rsa.png" not in plots.plot_all([series("grounded", codebook_vectors=None)], tmp_path)


def test_the_colour_map_can_be_read_in_grey():
    """The lightness of the map of cosines rises evenly."""
    import matplotlib as mpl

    red, green, blue, _ = mpl.colormaps["cividis"](np.linspace(0, 1, 50)).T
    assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) > 0).all()


def test_values_drawn_are_the_values_measured():
    entry = series("grounded")
    left, right, *_ = plots.plot_spectrum([entry]).axes
    assert np.array_equal(left.lines[0].get_ydata(), entry.singular_values)
    share = right.lines[0].get_ydata()
    assert share[-1] == pytest.approx(1)
    assert share[0] == pytest.approx(entry.singular_values[0] / entry.singular_values.sum())


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (1000, 3, 21), (300, 300, 300, 124)])
def test_any_number_of_tokens_and_levels_can_be_read(sizes, monkeypatch):
    levels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    for shown in (levels, np.full_like(levels, -1)):
        new = np.random.default_rng(0).standard_normal((len(levels), 32)).astype(np.float32)
        entry = replace(series("grounded"), image=binned_cosines(new), image_levels=shown)
        assert not badly_placed(plots.plot_hierarchy([entry]), monkeypatch)
        assert not badly_placed(plots.plot_hierarchy([entry] * 4), monkeypatch)


def test_intervals_reach_around_their_values():
    entry = series("grounded")
    errors = plots._rsa_errors(entry.figures, "pearson", [0, 1, 2], [entry.figures["rsa_pearson"], 0, 0, 0])
    low, high = entry.figures["rsa_pearson_interval"]
    assert errors[:, 0] == pytest.approx([entry.figures["rsa_pearson"] - low, high - entry.figures["rsa_pearson"]])


def test_both_ranges_are_named_also_where_a_level_begins_in_the_middle_of_one():
    levels = np.repeat([0, 1], 5).astype(np.int32)
    axes = plots.plot_cosines([series("grounded", levels=levels, codebook_vectors=None)]).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        assert [tick.label1.get_text() for tick in axis.get_minor_ticks()] == ["pretrained", "new"]
        assert len(axis.get_minorticklocs()) == 2
        assert 14.5 in axis.get_majorticklocs()


def test_a_spectrum_of_few_values_has_numbers_and_no_empty_room():
    axes = plots.plot_spectrum([series("scattered", levels=LEVELS[:4], codebook_vectors=None)]).axes[0]
    assert axes.get_xticks().tolist() == [1, 2, 3, 4]
    low, high = axes.get_ylim()
    assert high / low < 100
    assert "not shown" not in axes.get_title()
    assert "not shown" in plots.plot_spectrum([series("collapsed")]).axes[0].get_title()
