from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.tables.equal_times import InteractionOptions
from gti_cli.tables.histories import History, Interactions, read_interactions, split

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


def undecided_targets(rows, labels, part):
    """Targets whose user has another item (or another part) at the same time."""
    found = []
    for user in {user for user, _, _ in rows}:
        own = sorted((row for row in enumerate(rows) if row[1][0] == user), key=lambda row: row[1][2])
        parts = [labels[n] for n, _ in own] if labels else ["train"] * (len(own) - 2) + ["valid", "test"]
        if not labels and len(own) < 3:
            continue
        for place, ((_, (_, item, time)), own_part) in enumerate(zip(own, parts, strict=True)):
            said = {(i, p if labels else None) for (_, (_, i, t)), p in zip(own, parts, strict=True) if t == time}
            if place and own_part == part and said != {(item, own_part if labels else None)}:
                found.append((user, place))
    return found


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
    for part in ("valid", "test"):
        assert found.counts[f"{part}_targets_by_file_order"] == len(undecided_targets(rows, labels, part))


def test_equal_times_keep_the_order_of_the_file(tmp_path):
    rows = [(0, 3, 7), (1, 9, 0), (0, 1, 7), (0, 2, 7), (0, 5, 1)]
    found = read_interactions(write(tmp_path, rows), ITEMS)
    assert found.items["u0"] == ["i5", "i3", "i1", "i2"]
    assert split(found).test == [History("u0", ["i5", "i3", "i1"], "i2")]


def test_labels_and_texts_follow_their_rows(tmp_path):
    columns = {
        "user_id": ["a", "b", "a", "a", "b"],
        "item_id": ["i1", "i2", "i3", "i1", "i4"],
        "timestamp": [5, 1, 4, 9, 1],
        "intent": ["red", " blue", None, "red", "blue"],
        "preference": ["not", "asked", "for", "in", "this"],
    }
    pq.write_table(pa.table(columns), tmp_path / "plain.parquet")
    found = read_interactions(tmp_path / "plain.parquet", ITEMS, ("intent", "absent"))
    assert found.items == {"a": ["i3", "i1", "i1"], "b": ["i2", "i4"]} and found.path == str(tmp_path / "plain.parquet")
    assert found.texts == {"intent": {"a": ["", "red", "red"], "b": ["blue", "blue"]}}
    assert found.split is None and found.undecided.tolist() == [False] * 3 + [True] * 2
    # By leave-one-out; two interactions are too few.
    assert found.labels("a") == ["train", "valid", "test"] and found.labels("b") == ["train", "train"]
    assert found.parts().tolist() == [0, 1, 2, 0, 0]
    pq.write_table(
        pa.table({**columns, "split": ["test", "train", "valid", "train", "test"]}), tmp_path / "own.parquet"
    )
    found = read_interactions(tmp_path / "own.parquet", ITEMS)
    assert found.texts == {} and found.split == {"a": ["valid", "test", "train"], "b": ["train", "test"]}
    assert found.labels("a") == ["valid", "test", "train"] and found.parts().tolist() == [1, 2, 0, 0, 2]


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
    path = write(tmp_path, [(0, 1, 1), (0, 1, 2), (0, 1, 3), (0, 77, 3), (0, 88, 4)])
    with pytest.raises(InputError) as error:
        read_interactions(path, ITEMS)
    line = str(error.value)
    assert "'i77', 'i88'" in line and str(path) in line and "row 4" in line and "\n" not in line
    assert "rop these interactions" in line


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["a"], "item_id": ["i1"]}, "'timestamp' is missing"),
        ({"user_id": ["a", None], "item_id": ["i1", "i1"], "timestamp": [1, 2]}, "row 2: the id is missing"),
        ({"user_id": ["a", "a"], "item_id": ["i1", ""], "timestamp": [1, 2]}, "row 2: the id is missing"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [None]}, "timestamp"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "split": [{"a": 1}]}, "column 'split'"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "intent": [{"a": 1}]}, "column 'intent'"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": ["soon"]}, "row 1: 'soon' is no date or time"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "split": ["dev"]}, "row 1: 'dev' is no split"),
        ({"user_id": ["a"] * 2, "item_id": ["i1"] * 2, "timestamp": [1, 2], "split": ["train", None]}, "row 2: ''"),
        ({"user_id": ["a"] * 2, "item_id": ["i1"] * 2, "timestamp": [1, 2]}, "no user can be evaluated"),
        ({"user_id": ["a"], "item_id": ["i1"], "timestamp": [1], "split": ["test"]}, "no user can be evaluated"),
    ],
)
def test_bad_tables(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=message) as error:
        split(read_interactions(tmp_path / "bad.parquet", ITEMS, ("intent",)))
    assert str(tmp_path / "bad.parquet") in str(error.value) and error.value.remedy


def test_all_counts_by_hand(capsys):
    # "a" begins with a test row and "b" with a validation row: nothing stands before them.
    items = {"a": ["1", "2", "3", "1"], "b": ["3", "4"], "c": ["1"], "d": ["2"]}
    parts = {"a": ["test", "train", "valid", "test"], "b": ["valid", "test"], "c": ["train"], "d": ["train"]}
    found = split(Interactions(items, parts, "a table"))
    assert found.train == {"a": ["2"], "c": ["1"], "d": ["2"]}
    assert found.valid == [History("a", ["1", "2"], "3")]
    assert found.test == [History("a", ["1", "2", "3"], "1"), History("b", ["3"], "4")]
    assert found.counts == {
        "users": 4,
        "interactions": 8,
        "items": 4,
        "users_too_short": 3,
        "users_with_one_interaction": 2,
        "train_interactions": 3,
        "train_items": 2,
        "valid_targets": 1,
        "test_targets": 2,
        "targets_without_history": 2,
        "valid_targets_by_file_order": 0,
        "test_targets_by_file_order": 0,
    }
    # Too short for leave-one-out, which is not what divides this table.
    said = " ".join(capsys.readouterr().err.split())
    assert said == ("warning: 2 validation or test rows have no earlier interaction of their user and are left out")
    split(Interactions(items, parts, "a table"), quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("part", ["valid", "test"])
def test_targets_of_one_part_are_enough(part):
    found = split(Interactions({"a": ["1", "2"]}, {"a": ["train", part]}, "a table"))
    assert getattr(found, part) == [History("a", ["1"], "2")] and len(found.valid) + len(found.test) == 1


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (None, "none has 3 interactions"),
        ({"a": ["test"]}, "no row with an earlier interaction is marked valid or test"),
    ],
)
def test_why_nobody_can_be_evaluated(parts, why):
    with pytest.raises(InputError, match=f"^a table: no user can be evaluated: {why}. Give histories of at least 3 "):
        split(Interactions({"a": ["1"]}, parts, "a table"))


TIED = [(0, 3, 7), (0, 1, 7), (0, 5, 1), (1, 2, 4), (1, 4, 5), (1, 6, 6), (2, 1, 1), (2, 1, 1), (2, 3, 2)]


def test_what_the_order_of_the_file_decides_is_counted_and_said(tmp_path, capsys):
    counts = split(read_interactions(write(tmp_path, TIED), ITEMS)).counts
    assert counts["equal_times"] == 4 and counts["repeated_rows"] == 1
    assert counts["test_targets_by_file_order"] == counts["valid_targets_by_file_order"] == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "4 of 9 rows share user and time with another row" in said
    assert "the order of the file decides 1 of 3 test targets and 1 of 3 validation targets" in said
    assert "warning: 1 of 9 rows have user, item and time of an earlier row" in said


def test_nothing_is_said_of_times_that_differ(tmp_path, capsys):
    rows = [(0, 3, 1), (0, 1, 2), (0, 3, 3)]
    counts = split(read_interactions(write(tmp_path, rows), ITEMS, options=InteractionOptions("refuse"))).counts
    assert counts["equal_times"] == counts["repeated_rows"] == counts["test_targets_by_file_order"] == 0
    assert capsys.readouterr().err == ""


def test_ties_can_be_refused(tmp_path):
    path = write(tmp_path, TIED)
    with pytest.raises(InputError) as error:
        read_interactions(path, ITEMS, options=InteractionOptions(ties="refuse"))
    assert str(error.value).startswith(
        f"{path}, column 'timestamp', row 1: the order of the file decides between 2 of 9 rows, which 1 users have at "
        "equal times (first: user 'u0', time 7). Give these rows times that differ, or use --ties file."
    )


def test_rows_that_stand_twice_are_dropped_if_asked(tmp_path, capsys):
    rows = [(0, 3, 1), (0, 1, 2), (0, 5, 3), (0, 3, 4)]
    whole = split(read_interactions(write(tmp_path, rows), ITEMS))
    doubled = write(tmp_path, [*rows, *rows], name="doubled.parquet")
    assert split(read_interactions(doubled, ITEMS)).test == [
        History("u0", ["i3", "i3", "i1", "i1", "i5", "i5", "i3"], "i3")
    ]
    capsys.readouterr()
    dropped = split(read_interactions(doubled, ITEMS, options=InteractionOptions(duplicates="drop")))
    assert (dropped.train, dropped.valid, dropped.test) == (whole.train, whole.valid, whole.test)
    assert dropped.counts == {**whole.counts, "repeated_rows": 4}
    said = " ".join(capsys.readouterr().err.split())
    assert said == "4 of 8 rows have user, item and time of an earlier row, and are dropped"


def test_rows_of_different_splits_are_not_the_same(tmp_path):
    rows = [(0, 3, 1), (0, 1, 2), (0, 1, 2)]
    path = write(tmp_path, rows, ["train", "train", "test"])
    found = read_interactions(path, ITEMS, options=InteractionOptions(duplicates="drop"))
    assert found.items == {"u0": ["i3", "i1", "i1"]} and found.counts["repeated_rows"] == 0


def test_fractions_of_seconds_order_a_history(tmp_path):
    rows = [(0, 3, 1.75), (0, 1, 1.5), (0, 5, 1.25)]
    assert read_interactions(write(tmp_path, rows), ITEMS).items == {"u0": ["i5", "i1", "i3"]}


def test_a_column_that_nothing_reads_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rated.csv"
    path.write_text("user_id,item_id,timestamp,rating,split,intent\nu,i0,1,5,train,red\n")
    for _ in range(2):
        read_interactions(path, {"i0"})
    assert capsys.readouterr().err.count("not read: column 'rating'\n") == 1
