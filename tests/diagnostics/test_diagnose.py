import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli.diagnostics.diagnose import adjust_plot_and_force, diagnose
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.diagnostics import SIZES, made_manifest, make_extended, write_codebooks, write_stage

N = sum(SIZES)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for kind in ("collapsed", "scattered", "grounded"):
        make_extended(folder / kind, kind)
    make_extended(folder / "untied", "grounded", tied=False, output="scattered")
    make_extended(folder / "foreign", "grounded", ours=False)
    write_codebooks(folder / "codebooks.safetensors")
    write_codebooks(folder / "others.safetensors", (7, 6, 6))
    return folder


def run(made, workspace, *names, **options):
    options = {"codebooks_from": str(made / "codebooks.safetensors"), **options}
    return diagnose([made / name for name in names], workspace, **options)


def test_several_checkpoints_side_by_side(made, tmp_path):
    manifest = run(made, tmp_path / "ws", "collapsed", "scattered", "grounded", plot=True)
    assert [manifest.metrics[label]["verdict"] for label in manifest.details["checkpoints"]] == [
        "collapsed",
        "distinct",
        "aligned",
    ]
    folder = tmp_path / "ws" / "diagnostics" / "collapsed-scattered-grounded"
    assert json.loads((folder / "metrics.json").read_text()) == manifest.metrics
    pictures = {f"{stem}.{end}" for stem in ("spectrum", "cosine", "hierarchy", "rsa") for end in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == {
        "metrics.json",
        "spectrum.parquet",
        "tokens.parquet",
        "words.parquet",
        "report.html",
        "cosine.parquet",
        *pictures,
    }
    spectrum = pq.read_table(folder / "spectrum.parquet").to_pydict()
    assert len(spectrum["k"]) == 6 * N
    tokens = pq.read_table(folder / "tokens.parquet").to_pydict()
    assert tokens["token"][:2] == ["<a_0>", "<a_1>"]
    assert manifest.metrics["grounded"]["norm_mean"] == pytest.approx(np.mean(tokens["norm"][-N:]))


def test_same_seed_same_bytes(made, tmp_path):
    folders = []
    for name in ("one", "two"):
        run(made, tmp_path / name, "grounded", "untied", plot=True, name="x")
        folders.append(tmp_path / name / "diagnostics" / "x")
    files = sorted(path.name for path in folders[0].iterdir())
    assert files == sorted(path.name for path in folders[1].iterdir())
    for file in files:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file


def test_untied_matrices_are_judged_apart(made, tmp_path):
    metrics = run(made, tmp_path, "untied").metrics["untied"]
    assert not metrics["tied"]
    assert (metrics["verdict"], metrics["output"]["verdict"]) == ("aligned", "distinct")
    assert run(made, tmp_path, "grounded").metrics["grounded"]["tied"]


def test_a_foreign_checkpoint_gives_the_same_figures(made, tmp_path):
    options = {"tokens_from": "<[abc]_[0-9]+>"}
    theirs = run(made, tmp_path, "foreign", **options).metrics["foreign"]
    ours = run(made, tmp_path, "grounded").metrics["grounded"]
    for key in ("effective_rank", "mean_cosine", "rsa_pearson", "rsa_spearman", "verdict"):
        assert theirs[key] == ours[key]


def test_done_already_and_pictures_added_later(made, tmp_path):
    first = run(made, tmp_path, "grounded")
    assert run(made, tmp_path, "grounded").run == first.run  # nothing done again
    second = run(made, tmp_path, "grounded", plot=True)
    assert (tmp_path / "diagnostics" / "grounded" / "spectrum.svg").is_file()
    assert run(made, tmp_path, "grounded").run == second.run  # asking without keeps the pictures
    with pytest.raises(InputError, match="--force"):
        run(made, tmp_path, "scattered", name="grounded")
    with pytest.raises(InputError, match="--force"):
        run(made, tmp_path, "grounded", seed=1)
    assert run(made, tmp_path, "scattered", name="grounded", force=True).metrics["scattered"]


def test_force_replaces_a_damaged_manifest(made, tmp_path):
    first = run(made, tmp_path, "grounded")
    (tmp_path / "diagnostics" / "grounded.json").write_text("{")
    with pytest.raises(InputError, match="again with --force"):
        run(made, tmp_path, "grounded")
    assert run(made, tmp_path, "grounded", force=True).outputs == first.outputs


def test_without_codebooks(made, tmp_path):
    for choice in ("auto", "none"):
        metrics = run(made, tmp_path / choice, "grounded", codebooks_from=choice, plot=True).metrics["grounded"]
        assert metrics["rsa_pearson"] is None
        assert not (tmp_path / choice / "diagnostics" / "grounded" / "rsa.svg").exists()


def test_refused_input_writes_nothing(made, tmp_path):
    cases = [
        ((), {}, "no checkpoint given"),
        (("grounded",), {"codebooks_from": str(made / "others.safetensors")}, "do not belong together"),
        (("grounded",), {"codebooks_from": str(made / "absent")}, "no such file"),
        (("grounded",), {"name": "../x"}, "is not a valid name"),
        (("foreign",), {}, "nothing says which"),
        (("absent",), {}, "no such folder"),
    ]
    for names, options, message in cases:
        with pytest.raises(InputError, match=message):
            run(made, tmp_path / "ws", *names, **options)
    with pytest.raises(InputError, match="holds no checkpoint; diagnose reads files, so download a hub model first"):
        diagnose(["someone/model"], tmp_path / "ws")
    assert not (tmp_path / "ws").exists()


def test_codebooks_of_the_workspace_and_their_lineage(made, tmp_path):
    space = Workspace(tmp_path)

    def write_ids(seed, **options):
        with space.stage(
            "build-ids", "semantic_ids", ["codebooks.safetensors"], options={"seed": seed}, **options
        ) as run:
            write_codebooks(run.path("codebooks.safetensors"), seed=seed)
            run.details["identity"] = f"ids {seed}"
        return run.result()

    ids = write_ids(0)
    with space.stage(
        "extend", "extended", ["extended"], options={}, upstream={"semantic_ids": ids}, checkpoint=True
    ) as run:
        make_extended(run.path("extended"), "grounded")
        run.details.update(semantic_ids=ids.identity, base_vocab=384)
    manifest = diagnose(["extended"], tmp_path)
    assert manifest.metrics["extended"]["rsa_pearson"] > 0.5
    assert set(manifest.upstream) == {"semantic_ids", "extended"}
    write_ids(1, force=True)
    with pytest.raises(InputError, match="other semantic IDs"):
        diagnose(["extended"], tmp_path, name="again")


def test_a_foreign_sharded_untied_checkpoint_with_a_file_of_tokens(made, tmp_path):
    """What people bring: shards, a head of its own, and a list of the tokens that they added."""
    folder = make_extended(
        tmp_path / "shards", "grounded", ours=False, tied=False, output="scattered", max_shard_size="20KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    names = [f"<{letter}_{code}>" for letter in "abc" for code in range(6)]
    (tmp_path / "tokens.txt").write_text("\n".join(names), "utf-8")
    found = diagnose(
        [folder],
        tmp_path / "ws",
        tokens_from=str(tmp_path / "tokens.txt"),
        codebooks_from=str(made / "codebooks.safetensors"),
    ).metrics["shards"]
    ours = run(made, tmp_path / "ws", "untied").metrics["untied"]
    for one, other in ((found, ours), (found["output"], ours["output"])):
        for key in ("effective_rank", "mean_cosine", "rsa_pearson", "rsa_spearman", "verdict"):
            assert one[key] == other[key]


def evaluate(space, name, value, popularity):
    """Write what `gti evaluate` writes into the manifest."""
    artifact = f"evaluation/{name}"
    upstream = {name: space.manifest(name)}
    with space.stage("evaluate", artifact, [artifact], options={"x": value}, upstream=upstream, force=True) as run:
        run.path(artifact).mkdir(parents=True)
        run.metrics.update(metrics={"recall@10": value}, baselines={"popularity": {"recall@10": popularity}})


def test_advice_knows_an_evaluation_that_was_made_later(made, tmp_path):
    space = Workspace(tmp_path)
    write_stage(space, "tuned", "grounded")
    codebooks = str(made / "codebooks.safetensors")

    def look(**options):
        return diagnose(["tuned"], tmp_path, codebooks_from=codebooks, **options)

    first = look()
    assert "gti evaluate tuned" in first.metrics["tuned"]["advice"]
    evaluate(space, "tuned", 0.01, 0.05)
    later = look()  # without --force: the rows are the same
    assert later.metrics["tuned"]["advice"].startswith("train it for longer: Recall@10 0.0100 is below popularity's")
    assert later.metrics["tuned"]["evaluation_value"] == 0.01
    assert "evaluation/tuned" in later.upstream
    assert look().run == later.run
    evaluate(space, "tuned", 0.09, 0.05)
    assert look().metrics["tuned"]["advice"].startswith("nothing: Recall@10 0.0900 is above popularity's")


def test_only_verdicts_and_pictures_are_made_again_without_force():
    ids, evaluation = made_manifest("semantic_ids"), made_manifest("evaluation/x")
    options = {"rows": {"x": "digest"}, "plot": False, "verdicts": 2}
    existing = replace(made_manifest("diagnostics/x", "semantic_ids"), options={**options, "plot": True}, seed=3)

    def adjusted(upstream=(ids,), seed=3, **changed):
        sources = {manifest.name: manifest for manifest in upstream}
        return adjust_plot_and_force(existing, {**options, **changed}, sources, seed, False)

    assert adjusted() == (True, False)  # pictures that are there are kept
    assert adjusted(upstream=(ids, evaluation)) == (True, True)
    assert adjusted(verdicts=3) == (True, True)
    for other in (adjusted(rows={"x": "others"}), adjusted(seed=4), adjusted(upstream=(evaluation,))):
        assert other == (False, False)  # refused by the stage
    assert adjust_plot_and_force(None, options, {}, 3, True) == (False, True)


def test_verdicts_of_an_earlier_version_are_given_again(made, tmp_path, monkeypatch):
    monkeypatch.setattr("gti_cli.diagnostics.diagnose.VERSION", None)  # earlier versions recorded none
    first = run(made, tmp_path, "grounded")
    monkeypatch.undo()
    second = run(made, tmp_path, "grounded")
    assert second.request != first.request
    assert run(made, tmp_path, "grounded").run == second.run
