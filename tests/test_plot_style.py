import matplotlib as mpl
from matplotlib.figure import Figure

from gti_cli.plot_style import COLOURS, DASHES, HATCHES, MARKERS, save_picture, style


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
