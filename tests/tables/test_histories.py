from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.tables.histories import History, read_interactions, split

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40)


def write(path, rows, labels=None, name="interactions.parquet"):
    columns = {
        "user_id": [f"u{user}" for user, _, _ in rows],
        "item_id": [f"i{item}" for _, item, _ in rows],
        "timestamp": [time for _, _, time in rows],
    }
    if labels is not None:
        columns["split"] = labels
    pq.write_table(pa.table(columns), path / name)
    return path / name


ITEMS = [f"i{n}" for n in range(10)]


def naive(rows, labels=None):
    """Leave-one-out with one loop over users and Python's stable sort."""
    train, valid, test = {}, [], []
    users = defaultdict(list)
    for place, (user, item, time) in enumerate(rows):
        users[f"u{user}"].append((time, f"i{item}", labels[place] if labels else None))
    for user, entries in users.items():
        entries = sorted(entries, key=lambda entry: entry[0])
        names = [item for _, item, _ in entries]
        if labels:
            for n, (_, item, label) in enumerate(entries):
                if label == "train":
                    train.setdefault(user, []).append(item)
                elif n:
                    (valid if label == "valid" else test).append(History(user, names[:n], item))
        elif len(names) < 3:
            train[user] = names
        else:
            train[user] = names[:-2]
            valid.append(History(user, names[:-2], names[-2]))
            test.append(History(user, names[:-1], names[-1]))
    return train, valid, test


@settings(max_examples=80, deadline=None)
@given(ROWS, st.data())
def test_equals_a_loop_over_users(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("splits")
    labels = None
    if data.draw(st.booleans()):
        labels = [data.draw(st.sampled_from(["train", "valid", "test"])) for _ in rows]
    train, valid, test = naive(rows, labels)
    interactions = read_interactions(write(folder, rows, labels), ITEMS)
    if not valid and not test:
        with pytest.raises(InputError, match="no user can be evaluated"):
            split(interactions)
        return
    found = split(interactions)
    assert (found.train, found.valid, found.test) == (train, valid, test)
    assert list(found.train) == list(train)  # the users' order too: it decides the training's
    lengths = [sum(user == u for u, _, _ in rows) for user in {u for u, _, _ in rows}]
    assert found.counts["users"] == len(lengths)
    assert found.counts["interactions"] == len(rows)
    assert found.counts["users_too_short"] == sum(length < 3 for length in lengths)
    assert found.counts["users_with_one_interaction"] == sum(length == 1 for length in lengths)
    assert found.counts["train_items"] == len({item for items in train.values() for item in items})
    labelled = labels.count("valid") + labels.count("test") if labels else len(valid) + len(test)
    assert found.counts["targets_without_history"] == labelled - len(valid) - len(test)


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    rows = [(0, 3, 7), (1, 9, 0), (0, 1, 7), (0, 2, 7), (0, 5, 1)]
    found = read_interactions(write(tmp_path, rows), ITEMS)
    assert found.items["u0"] == ["i5", "i3", "i1", "i2"]
    assert split(found).test == [History("u0", ["i5", "i3", "i1"], "i2")]


def test_csv_and_integer_ids(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n007,1,3\n007,2,1\n007,3,2\n8,1,1\n")
    found = split(read_interactions(path, {"1", "2", "3"}))
    assert found.train == {"007": ["2"], "8": ["1"]}
    assert found.test[0].target == "1"


def test_short_users_are_said(tmp_path, capsys):
    split(read_interactions(write(tmp_path, [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 1), (2, 1, 1), (2, 2, 2)]), ITEMS))
    said = capsys.readouterr().err
    assert "2 of 3 users have fewer than 3 interactions (1 have one)" in said


def test_unknown_items_are_named_with_file_and_row(tmp_path):
    path = write(tmp_path, [(0, 1, 1), (0, 2, 2), (0, 77, 3), (0, 88, 4)])
    with pytest.raises(InputError) as error:
        read_interactions(path, ITEMS)
    line = str(error.value)
    assert "'i77', 'i88'" in line and str(path) in line and "row 3" in line and "\n" not in line


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["a"], "item_id": ["i1"]}, "'timestamp' is missing"),
        ({"user_id": ["a", None], "item_id": ["i1", "i1"], "timestamp": [1, 2]}, "row 2: the id is missing"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [None]}, "timestamp"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": ["soon"]}, "must be numbers or times"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "split": ["dev"]}, "row 1: 'dev' is no split"),
        ({"user_id": ["a"] * 2, "item_id": ["i1"] * 2, "timestamp": [1, 2], "split": ["train", None]}, "row 2: ''"),
        ({"user_id": ["a"] * 2, "item_id": ["i1"] * 2, "timestamp": [1, 2]}, "no user can be evaluated"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "split": ["test"]}, "no user can be evaluated"),
    ],
)
def test_bad_tables(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=message):
        split(read_interactions(tmp_path / "bad.parquet", ITEMS))
