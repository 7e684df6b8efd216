import json

import pytest

from gti_cli.app import run
from tests.support.diagnostics import make_extended, write_codebooks


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_extended(folder / "grounded", "grounded")
    make_extended(folder / "untied", "grounded", tied=False, output="collapsed")
    make_extended(folder / "foreign", "scattered", ours=False)
    write_codebooks(folder / "codebooks.safetensors")
    return folder


def test_one_row_a_matrix_and_the_verdict_explained(made, tmp_path, capsys):
    arguments = ["diagnose", str(made / "grounded"), str(made / "untied"), "-w", str(tmp_path)]
    assert run([*arguments, "--codebooks", str(made / "codebooks.safetensors"), "--plot"]) == 0
    out = capsys.readouterr().out
    assert "untied (input)" in out
    assert "untied (output): collapsed\n  effective rank 1.0, 0 % of the way" in out
    assert out.count("  What to do: ") == 3
    assert out.count("\nAligned: the rows lie among the pretrained rows") == 1  # of two matrices, explained once
    assert "not how well the model recommends" in out
    assert str(tmp_path / "diagnostics" / "grounded-untied") in out
    figures = json.loads((tmp_path / "diagnostics" / "grounded-untied" / "metrics.json").read_text("utf-8"))["grounded"]
    line = next(line for line in out.splitlines() if line.startswith("│ grounded"))
    assert f" {figures['deciding_rsa_r']:.2f} " in line  # what decided the verdict stands in the table
    assert f" {figures['deciding_rsa_p']:.3f} " in line
    assert run([*arguments, "--codebooks", str(made / "codebooks.safetensors")]) == 0
    assert "untied (output): collapsed" in capsys.readouterr().out  # printed again from the manifest


def test_json(made, tmp_path, capsys):
    arguments = ["diagnose", str(made / "grounded"), "-w", str(tmp_path), "--json", "-q", "--name", "x"]
    assert run(arguments) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["name"] == "diagnostics/x"
    assert run([argument for argument in arguments if argument != "-q"]) == 0
    assert "change nothing here" not in capsys.readouterr().err
    assert run([*(argument for argument in arguments if argument != "-q"), "--device", "cpu"]) == 0
    assert "--device, --dtype and --no-resume change nothing here" in " ".join(capsys.readouterr().err.split())
    assert payload["metrics"]["grounded"]["verdict"]


def test_trajectory_says_what_each_checkpoint_kept(made, tmp_path, capsys):
    arguments = ["diagnose", str(made / "grounded"), str(made / "untied"), "-w", str(tmp_path), "--trajectory"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "From checkpoint to checkpoint" in out
    line = next(line for line in out.split("From checkpoint")[1].splitlines() if "untied (input)" in line)
    assert "grounded" in line
    assert "1.0000" in line  # the same rows: CKA and cosine 1, moved 0
    assert (tmp_path / "diagnostics" / "grounded-untied" / "trajectory.parquet").is_file()


def test_tokens_from_and_base_vocab(made, tmp_path, capsys):
    foreign = str(made / "foreign")
    assert run(["diagnose", foreign, "-w", str(tmp_path), "--tokens-from", "<[abc]_[0-9]+>", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["metrics"]["foreign"]
    base = json.loads((made / "foreign" / "config.json").read_text())["vocab_size"] - 18
    assert run(["diagnose", foreign, "-w", str(tmp_path), "--base-vocab", str(base), "--name", "y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["foreign"]["effective_rank"] == first["effective_rank"]


def test_bad_input_is_one_line(made, tmp_path, capsys):
    cut = make_extended(tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    capsys.readouterr()
    cases = [
        [str(tmp_path / "cut")],
        [str(made / "foreign")],
        [str(tmp_path / "absent")],
        [str(made / "grounded"), "--codebooks", str(made / "grounded" / "model.safetensors")],
        ["grounded"],
    ]
    for case in cases:
        assert run(["diagnose", *case, "-w", str(tmp_path / "ws")]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
    assert not (tmp_path / "ws").exists()
