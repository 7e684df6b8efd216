from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.diagnostics.inputs import distinct_labels, find_local_checkpoint, read_inputs
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.adapters import write_adapter
from tests.support.diagnostics import SIZES, make_extended, write_codebooks, write_items, write_stage

NAMES = ("a", "b", "checkpoint-1")


def read(space, *paths, **options):
    options = {"tokens_from": None, "base_vocab": None, "codebooks_from": "auto", "seed": 0, **options}
    return read_inputs(space, paths, **options)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A workspace with items and one checkpoint, and beside it a folder of a Trainer's without a list of new tokens."""
    root = tmp_path_factory.mktemp("ws")
    space = Workspace(root)
    write_items(space, [f"text {i}" for i in range(36)])
    write_stage(space, "extended", "grounded")
    make_extended(root / "run" / "checkpoint-4", "scattered", ours=False)
    return space


@given(st.sets(st.tuples(*[st.sampled_from(NAMES)] * 3), min_size=1, max_size=8))
def test_labels_differ_and_are_the_ends_of_the_paths(parts):
    paths = ["/" + "/".join(names) for names in sorted(parts)]
    labels = distinct_labels([SimpleNamespace(path=path) for path in paths])
    assert len(set(labels)) == len(paths)
    for path, label in zip(paths, labels, strict=True):
        assert path.endswith("/" + label)
        others = [Path(other).name for other in paths if other != path]
        assert (label == Path(path).name) == (Path(path).name not in others)  # only equal names get longer


def test_a_folder_given_twice_is_refused_also_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="given twice"):
        distinct_labels([SimpleNamespace(path=str(tmp_path / name)) for name in ("real", "link")])


def test_checkpoints_by_name_by_path_and_absent(space):
    assert Path(find_local_checkpoint(space, "extended").path) == space.path("extended")
    folder = space.root / "run" / "checkpoint-4"
    for path in (str(folder), "run/checkpoint-4"):  # a folder inside the workspace needs no manifest
        assert Path(find_local_checkpoint(space, path).path) == folder
    with pytest.raises(InputError, match="no such checkpoint or folder"):
        find_local_checkpoint(space, "someone/model")


def test_tokens_are_matched_with_codebooks_and_items_of_the_workspace(space):
    inputs = read(space, "extended")
    (checkpoint,) = inputs.checkpoints
    assert inputs.items is not None
    assert inputs.codebooks_file is None
    assert set(inputs.upstream) == {"semantic_ids", "extended"}
    assert checkpoint.codebook_vectors.rows.tolist() == list(range(sum(SIZES)))
    carried = [np.flatnonzero(inputs.items.codes[:, level] == code).tolist() for level in range(3) for code in range(6)]
    assert [rows.tolist() for rows in checkpoint.carriers] == carried
    assert sorted(checkpoint.order) == list(range(sum(SIZES)))


def test_other_codebooks_or_none(space, tmp_path):
    inputs = read(space, "extended", codebooks_from="none")
    assert inputs.items is None
    assert inputs.checkpoints[0].codebook_vectors is None
    path = write_codebooks(tmp_path / "books.safetensors", seed=3)
    inputs = read(space, "extended", codebooks_from=str(path))
    assert inputs.codebooks_file == path
    assert inputs.checkpoints[0].carriers is None
    assert "semantic_ids" not in inputs.upstream


def test_a_list_of_new_tokens_is_inherited_where_asked(space):
    paths = ("extended", str(space.root / "run" / "checkpoint-4"))
    inputs = read(space, *paths, inherit_tokens=True)
    first, second = (checkpoint.rows.tokens.names for checkpoint in inputs.checkpoints)
    assert first == second
    with pytest.raises(InputError, match="nothing says which"):
        read(space, *paths, codebooks_from="none")
    with pytest.raises(InputError, match="nothing says which"):  # the list of a later checkpoint does not count
        read(space, *reversed(paths), inherit_tokens=True, codebooks_from="none")


def test_a_checkpoint_from_elsewhere_is_known_by_the_names_of_the_workspaces_codes(space, tmp_path, capsys):
    folder = space.root / "run" / "checkpoint-4"
    by_name, by_pattern = (read(space, folder, tokens_from=given) for given in (None, "<[abc]_[0-9]+>"))
    assert "checkpoint-4: its 18 tokens with the names of the workspace's codes count as new" in " ".join(
        capsys.readouterr().err.split()
    )
    first, second = by_name.checkpoints[0], by_pattern.checkpoints[0]
    assert first.rows.digest == second.rows.digest and first.rows.tokens.names == second.rows.tokens.names
    assert first.codebook_vectors.rows.tolist() == list(range(sum(SIZES)))
    # Codes of other semantic IDs are not taken for these; the line says what would take them.
    other = Workspace(tmp_path)
    write_items(other, [f"text {i}" for i in range(36)])
    wider = [np.zeros((7, 8), dtype=np.float32)] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gti_cli.diagnostics.inputs.read_codebooks", lambda _: wider)
        with pytest.raises(InputError, match="18 tokens named like codes are not those of the workspace") as caught:
            read(other, folder)
    assert "--tokens-from '<a_[0-9]+>|<b_[0-9]+>|<c_[0-9]+>' or" in str(caught.value)


def test_equal_folder_names_of_real_checkpoints(space, tmp_path):
    copies = [make_extended(tmp_path / parent / "extended") for parent in ("a", "b")]
    labels = [checkpoint.label for checkpoint in read(space, *copies, codebooks_from="none").checkpoints]
    assert labels == ["a/extended", "b/extended"]


def test_an_adapter_is_read_with_the_rows_that_it_changes(space, tmp_path):
    from safetensors.numpy import load_file

    first = read(space, "extended").checkpoints[0].rows
    chosen = [int(token) for token in first.tokens.ids[:4]]
    write_adapter(space.path("extended"), tmp_path / "adapter", trainable_token_indices=chosen)
    inputs = read(space, "extended", str(tmp_path / "adapter"), codebooks_from="none")
    base, adapter = (checkpoint.rows for checkpoint in inputs.checkpoints)
    assert adapter.tokens.names == base.tokens.names
    assert np.array_equal(adapter.vocabulary.names, base.vocabulary.names)
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    (rows,) = [numbers for name, numbers in stored.items() if "trainable_tokens" in name]
    assert np.array_equal(adapter.matrices["input"].new[:4], rows)
    assert np.array_equal(adapter.matrices["input"].new[4:], base.matrices["input"].new[4:])
    assert inputs.details == {"sources": {"adapter": {"adapter": {"kind": "LORA", "base": "extended"}}}}
    assert list(inputs.upstream) == ["extended"]
    with pytest.raises(InputError, match="none of the checkpoints is one"):
        read(space, "extended", base="extended")
