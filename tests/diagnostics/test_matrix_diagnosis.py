import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.diagnostics.inputs import read_inputs
from gti_cli.diagnostics.matrix_diagnosis import SHOWN, diagnose_matrix, shorten, write_tables
from gti_cli.diagnostics.measure import measure
from gti_cli.diagnostics.nearest_words import TextWords
from gti_cli.geometry.sampling import evenly
from gti_cli.geometry.similarity import cosine_matrix
from gti_cli.workspace import Workspace
from tests.support.alphabets import UNUSUAL
from tests.support.diagnostics import SIZES, make_extended, write_items

N = sum(SIZES)
TEXTS = ["silk dress", "red dress", "leather boots", "fountain pen", "running shoes", "notebook"] * 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The diagnoses of both matrices of an untied checkpoint, and of one matrix of a tied one without items."""
    root = tmp_path_factory.mktemp("ws")
    space = Workspace(root)
    write_items(space, TEXTS)
    untied = make_extended(root / "untied", "grounded", tied=False, output="scattered")
    tied = make_extended(root / "tied", "grounded")
    options = {"tokens_from": None, "base_vocab": None, "seed": 0}
    inputs = read_inputs(space, [untied], codebooks_from="auto", **options)
    texts = TextWords(inputs.items.texts)
    diagnoses = [diagnose_matrix(inputs.checkpoints[0], matrix, texts, 0) for matrix in ("input", "output")]
    bare = read_inputs(space, [tied], codebooks_from="none", **options).checkpoints[0]
    return [*diagnoses, diagnose_matrix(bare, "input", None, 0)]


def test_names_say_which_matrix_where_there_are_two(made):
    assert [diagnosis.series.name for diagnosis in made] == ["untied (input)", "untied (output)", "tied"]


def test_figures_are_those_of_measure_with_words_and_verdict(made):
    diagnosis = made[0]
    checkpoint, figures = diagnosis.checkpoint, diagnosis.series.figures
    expected = measure(
        diagnosis.rows.new,
        diagnosis.rows.pretrained,
        checkpoint.codebook_vectors,
        levels=checkpoint.rows.tokens.levels,
        parents=checkpoint.parents,
    )
    assert expected.figures.items() <= figures.items()
    assert figures["verdict"] == "aligned"  # no manifest says that it was grounded
    levels = figures["rsa_levels"]
    assert figures["deciding_rsa_r"] == levels[figures["deciding_rsa_level"]]["centred_pearson"]
    assert figures["deciding_rsa_p"] == levels[figures["deciding_rsa_level"]]["centred_p"]
    assert (figures["made_by"], figures["evaluation"]) == ([], None)
    assert figures["word_agreement"] == diagnosis.agreement.mean
    assert figures["words_searched"] == len(checkpoint.rows.pretrained)
    assert np.array_equal(diagnosis.series.singular_values, expected.singular_values)


def test_without_items_there_is_no_agreement(made):
    assert made[2].agreement is None
    assert made[2].series.figures["word_agreement"] is None


def test_pictures_show_evenly_spread_tokens_in_the_order_of_the_hierarchy(made):
    diagnosis = made[0]
    series, rows, order = diagnosis.series, diagnosis.rows, diagnosis.checkpoint.order
    tokens = diagnosis.checkpoint.rows.tokens
    assert series.shown[SHOWN:] == [tokens.names[row] for row in order]
    assert series.levels.tolist() == tokens.levels[order].tolist() == sorted(tokens.levels)
    assert np.array_equal(series.image_levels, series.levels)
    shown = np.vstack([rows.pretrained[evenly(len(rows.pretrained), SHOWN)], rows.new[order]])
    assert np.allclose(series.cosines, cosine_matrix(shown))
    assert np.allclose(series.image, cosine_matrix(rows.new[order]))


def test_tables(made, tmp_path):
    write_tables(made, tmp_path)
    tables = {name: pq.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("spectrum", "tokens", "words")}
    keys = [("untied", "input"), ("untied", "output"), ("tied", "input")]
    for table, rows in zip(tables.values(), (2 * N, N, 10 * N), strict=True):
        counted = list(zip(table["checkpoint"], table["matrix"], strict=True))
        assert counted == [key for key in keys for _ in range(rows)]
    tokens = tables["tokens"]
    assert tokens["items"] == 2 * ([6] * 12 + [8, 7, 7, 7, 7, 0]) + [0] * N
    assert tokens["parent"][2 * N :] == [-1] * N
    places = np.asarray(tokens["place"][:N])
    assert np.array_equal(made[0].checkpoint.order[places], np.arange(N))
    words = tables["words"]
    for i in range(N):
        hits = np.asarray(words["in_item_texts"][10 * i : 10 * i + 10], dtype=float)
        hits = hits[np.isfinite(hits)]
        expected = hits.mean() if len(hits) else np.nan
        assert tokens["word_agreement"][i] == pytest.approx(expected, nan_ok=True)
    assert words["word"][::10] == tokens["nearest_word"]
    cosine = pq.read_table(tmp_path / "cosine.parquet").to_pydict()
    first = cosine["token"].index("<a_3>")
    same = next(i for i in range(first, len(cosine["token"])) if cosine["other"][i] == "<a_3>")
    assert cosine["cosine"][same] == pytest.approx(1)


@given(st.text(UNUSUAL, min_size=1, max_size=60), st.integers(3, 40))
def test_shortened_names_keep_both_ends(name, longest):
    short = shorten(name, longest)
    assert len(short) <= longest
    if len(name) <= longest:
        assert short == name
    else:
        start, end = short.split("…", 1) if "…" not in name else (short[: (longest - 1) // 2], short[-1:])
        assert name.startswith(start)
        assert name.endswith(end)
