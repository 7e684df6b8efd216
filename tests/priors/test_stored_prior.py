"""A stored prior: the same masses after reading, also for a catalogue in another order, with other items."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from gti_cli import tables
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.decoding.prior_bias import UNIFORM_SHARE, code_bias
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.priors.stored_prior import StoredPrior, find_prior, leave_prior, load_prior, read_prior, write_prior
from gti_cli.vocabulary.extend import extend
from tests.support.evaluation import make_world
from tests.support.priors import IDS, ROW_OF, WITH_PRIOR, add_checkpoint_with_prior, made_mixture


def test_reads_what_was_written(tmp_path, stored):
    read = read_prior(tmp_path, ROW_OF)
    assert read.weights.tolist() == [0.5, 0.25]
    assert read.prior.settings == stored.settings
    np.testing.assert_array_equal(read.prior.scale, stored.scale)
    histories = [[0], [1, 2], [3, 0, 1]]
    np.testing.assert_allclose(read.prior.masses(histories).toarray(), stored.masses(histories).toarray(), rtol=1e-6)


def test_items_are_found_by_their_ids(tmp_path, stored):
    # "d" is gone, "new" has come, and the order is another.
    read = read_prior(tmp_path, {"ü": 0, "new": 1, "a": 2, "b": 3})
    masses = read.prior.masses([[3, 2], [1]]).toarray()
    before = stored.masses([[1, 0]]).toarray()[0]
    np.testing.assert_allclose(masses[0], [before[2], 0, before[0], before[1]], rtol=1e-6)
    assert not masses[1].any()


def test_a_checkpoint_without_a_prior(tmp_path):
    assert read_prior(tmp_path, ROW_OF) is None


def test_a_damaged_file_is_refused(tmp_path, stored):
    path = tmp_path / PRIOR_FILE
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_prior(tmp_path, ROW_OF)


def test_another_format_and_another_number_of_levels_are_refused(tmp_path, stored):
    path = tmp_path / PRIOR_FILE
    checkpoint = Checkpoint(str(tmp_path), True, None, None)
    codes = np.asarray([[0, 0, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=np.int32)
    ids = [np.arange(2) + 2 * level for level in range(3)]
    with pytest.raises(InputError, match="weights for 2 levels, and the semantic IDs have 3"):
        load_prior(checkpoint, ROW_OF, build_trie(codes), ids, torch.device("cpu"))
    save_file(load_file(path), path, metadata={"gti_prior": '{"format": 4}'})
    with pytest.raises(InputError, match="has format 4, and this version of gti reads 1, 2 and 3"):
        read_prior(tmp_path, ROW_OF)


def test_what_the_weights_were_learned_with_is_stored(tmp_path, stored):
    write_prior(tmp_path, StoredPrior(stored, np.ones(2, dtype=np.float32), uniform_share=0.25, floor=-4.0), IDS)
    codes = np.asarray([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.int32)
    checkpoint = Checkpoint(str(tmp_path), True, None, None)
    ids = [np.arange(2), np.arange(2) + 2]
    model = load_prior(checkpoint, ROW_OF, build_trie(codes), ids, torch.device("cpu")).model
    assert (model.uniform_share, model.floor) == (0.25, -4.0)


def test_a_checkpoint_of_the_hub_brings_its_prior(tmp_path, stored, monkeypatch):
    def cached_file(name, file, **_):
        return str(tmp_path / file) if name == "owner/tuned" else None

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    folder = find_prior(Checkpoint("owner/tuned", False, None, None))
    assert read_prior(folder, ROW_OF).weights.tolist() == [0.5, 0.25]
    assert find_prior(Checkpoint("owner/plain", False, None, None)) is None


def test_a_checkpoint_with_more_words_keeps_its_prior(tmp_path, capsys):
    world = make_world(tmp_path)
    add_checkpoint_with_prior(world, make=made_mixture)
    words = tmp_path / "words.csv"
    words.write_text("token\nzorp\n")
    manifest = extend(WITH_PRIOR, world.workspace, tokens=words, name="more", device="cpu", measure_effect=False)
    assert manifest.details["behaviour_prior"] == "item-knn+sasrec"
    kept = world.workspace / "more" / PRIOR_FILE
    assert kept.read_bytes() == (world.workspace / WITH_PRIOR / PRIOR_FILE).read_bytes()
    assert "behaviour prior | item-knn+sasrec" in (world.workspace / "more" / "README.md").read_text("utf-8")


def test_a_prior_that_does_not_belong_to_the_new_checkpoint_is_left_out_and_said(tmp_path, stored, capsys):
    run = SimpleNamespace(details={"behaviour_prior": "item-knn", "model": "tiny"})
    leave_prior(Checkpoint(str(tmp_path), True, None, "tuned"), run, "and so on")
    assert "tuned was trained with a behaviour prior, and so on" in " ".join(capsys.readouterr().err.split())
    assert run.details == {"model": "tiny"}
    leave_prior(Checkpoint(str(tmp_path / "none"), True, None, "plain"), run, "and so on")
    assert not capsys.readouterr().err


def test_new_items_keep_their_share_of_mass(tmp_path, stored):
    """An item that came later was never counted. It is as likely as any other of which the prior knows nothing."""
    row_of = {**ROW_OF, "new": 4}
    codes = np.asarray([[0, 0], [1, 0], [1, 1], [0, 1], [2, 0]], dtype=np.int32)
    checkpoint = Checkpoint(str(tmp_path), True, None, None)
    ids = [np.arange(3), np.arange(3) + 3]
    prior = load_prior(checkpoint, row_of, build_trie(codes), ids, torch.device("cpu"))
    behind = prior.masses([[0], [4]])[[0, 1]]
    assert behind.toarray()[:, 4].tolist() == [0, 0]
    zero = torch.zeros(2, dtype=torch.long)
    bias = code_bias(prior.model.trie, prior.model.trie.masses(behind), 0, torch.arange(2), zero)
    # Of K = 3 codes of the first level, the new item is alone below the third one.
    assert bias[0, 2].item() == pytest.approx(np.log(UNIFORM_SHARE / 5 * 3), abs=1e-6)
    # Behind a new item the prior knows nothing: every item has the same share.
    np.testing.assert_allclose(bias[1].numpy(), np.log(np.asarray([2, 2, 1]) / 5 * 3), atol=1e-6)


def test_held_out_items_take_no_place_among_the_last_ones(tmp_path, stored):
    """Wherever a checkpoint is asked, its prior sees histories as `gti evaluate --hold-out-items` does."""
    checkpoint, codes = Checkpoint(str(tmp_path), True, None, None), np.asarray([[0, 0], [1, 0], [1, 1], [0, 1]])
    tables.write(tmp_path / "gti_held_out_items.parquet", {"item_id": ["d", "gone"], "split": ["test", "valid"]})
    hidden = ROW_OF["d"]
    trie = build_trie(codes.astype(np.int32))
    prior = load_prior(checkpoint, ROW_OF, trie, [np.arange(2), np.arange(2) + 2], torch.device("cpu"))
    rest = [row for row in ROW_OF.values() if row != hidden]
    asked = [[rest[0], *[hidden] * stored.settings.last], [hidden], rest, [hidden, *rest]]
    found = prior.masses(asked)[list(range(len(asked)))].toarray()
    np.testing.assert_allclose(found, stored.masses([rest[:1], [hidden], rest, rest]).toarray(), rtol=1e-6)
