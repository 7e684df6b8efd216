import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from gti_cli.plot_style import COLOURS, DASHES, HATCHES, MARKERS, label_lines, save_picture, spread_out, style


def draw(folder, stem="picture"):
    folder.mkdir(exist_ok=True)
    with style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.subplots()
        axes.plot([1, 2, 3], [2, 1, 3], color=COLOURS[0], linestyle=DASHES[1], marker=MARKERS[2], label="a")
        axes.bar([1, 2], [1, 2], hatch=HATCHES[1])
        axes.legend()
    return save_picture(figure, folder / stem)


def test_both_files_and_the_same_bytes_for_the_same_figure(tmp_path):
    first, second = draw(tmp_path / "a"), draw(tmp_path / "b")
    assert first == [tmp_path / "a" / "picture.png", tmp_path / "a" / "picture.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert b"<dc:date>" not in first[1].read_bytes()
    assert b"Matplotlib" not in first[0].read_bytes()


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "outside").write_text("the user's")
    (tmp_path / "picture.svg").symlink_to(tmp_path / "outside")
    assert not any(path.is_symlink() for path in draw(tmp_path))
    assert (tmp_path / "outside").read_text() == "the user's"


def test_a_stem_with_a_dot_keeps_it(tmp_path):
    assert [path.name for path in draw(tmp_path, "v1.5")] == ["v1.5.png", "v1.5.svg"]


def test_settings_of_the_user_change_nothing_and_are_restored(tmp_path):
    plain = [path.read_bytes() for path in draw(tmp_path / "plain")]
    theirs = {
        "font.size": 23.0,
        "axes.facecolor": "red",
        "savefig.dpi": 20.0,
        "svg.fonttype": "none",
        "axes.grid": True,
    }
    with mpl.rc_context(theirs):
        assert [path.read_bytes() for path in draw(tmp_path / "theirs")] == plain
        assert all(mpl.rcParams[name] == value for name, value in theirs.items())


def test_every_series_can_be_told_apart_without_colour():
    assert len(set(COLOURS)) == len(set(DASHES)) == len(set(MARKERS)) == len(set(HATCHES)) == 7


def test_values_are_spread_to_a_gap_and_no_further():
    assert spread_out([0.0, 5.0], 1.0) == [0.0, 5.0]
    assert spread_out([1.0, 1.0, 1.0], 0.5) == [0.5, 1.0, 1.5]
    moved = spread_out([0.0, 0.1, 0.9, 1.0, 4.0], 0.5)
    assert moved == pytest.approx([-0.25, 0.25, 0.75, 1.25, 4.0])
    assert spread_out([], 1.0) == []


def test_the_names_of_lines_stand_apart_beside_their_ends():
    axis = Figure(figsize=(4, 3)).subplots()
    axis.set_ylim(0, 1)
    label_lines(axis, [(0.5, "one", COLOURS[0]), (0.5, "two", COLOURS[1]), (0.9, "three", COLOURS[2])])
    places = {text.get_text(): text.xyann for text in axis.texts}
    assert places["three"] == (1.03, 0.9) and places["one"][1] + places["two"][1] == pytest.approx(1)
    assert abs(places["one"][1] - places["two"][1]) * axis.get_position().height * 3 * 72 > 9.5  # in points
