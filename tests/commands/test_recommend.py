"""`gti recommend`: what reaches the stage, and what is printed or written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.recommendations import Recommendation, Recommendations
from gti_cli.recommender.results import RecommendedItem, RecommendedList, SimilarItem, TrainedOn
from tests.support.commands import RecordingStage
from tests.support.listed_items import listed_items


def answer(user: str, rank: int) -> Recommendation:
    return Recommendation(user_id=user, rank=rank, item_id=f"i{rank}", title=f"Hat {rank}", score=-0.5 * rank)


class RecordingPieces(RecordingStage):
    """The stage, which returns its result one user after the other."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        result = super().__call__(*arguments, **keywords)
        for user in dict.fromkeys(line.user_id for line in result):
            piece = listed_items([line for line in result if line.user_id == user])
            piece.never_trained_on = result.never_trained_on
            yield piece


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RecordingStage:
    stage = RecordingPieces(Recommendations([answer("1", 1), answer("1", 2)]))
    monkeypatch.setattr("gti_cli.recommendation.recommend.recommend_in_pieces", stage)
    return stage


def test_every_option_reaches_the_stage(stage: RecordingStage, tmp_path: Path) -> None:
    flags = "-k 3 --search exact --beams 7 --exclude out.csv --only in.csv --filter-seen --max-history 4 --batch-size 5"
    flags += " --candidates found.csv --ties refuse --duplicates drop"
    common = "--seed 6 --device cpu --dtype float32 -q"
    history = ["--history", "a, b", "--history", "c"]
    assert run(["recommend", "tuned", "-w", str(tmp_path), *history, *flags.split(), *common.split()]) == 0
    ((arguments, keywords),) = stage.calls
    assert arguments == (tmp_path,)
    assert keywords == {
        "checkpoint": "tuned",
        "base": None,
        "histories": {"1": ["a", "b", "c"]},
        "queries": None,
        "table": None,
        "k": 3,
        "search": "exact",
        "beams": 7,
        "exclude": "out.csv",
        "only": "in.csv",
        "candidates": "found.csv",
        "filter_seen": True,
        "max_history": 4,
        "batch_size": 5,
        "ties": "refuse",
        "duplicates": "drop",
        "parts": None,
        "seed": 6,
        "device": "cpu",
        "dtype": "float32",
    }


@pytest.mark.parametrize("flag", ["--force", "--no-resume"])
def test_options_without_a_meaning_here_are_refused(flag: str, stage: RecordingStage) -> None:
    assert run(["recommend", "--query", "hat", flag]) == 2
    assert stage.calls == []


def test_a_query_and_its_title(stage: RecordingStage, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", "--query", "red hat"]) == 0
    assert stage.calls[0][1]["queries"] == {"1": "red hat"} and stage.calls[0][1]["histories"] is None
    out = capsys.readouterr().out
    assert out.startswith("For 'red hat'") and "Hat 2" in out and "-1.0000" in out and "query_id" not in out
    assert run(["recommend", "--query", "red hat", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered.pop("recommendations") == [
        {
            "query_id": "1",
            "rank": rank,
            "item_id": f"i{rank}",
            "title": f"Hat {rank}",
            "score": -0.5 * rank,
            "proven": True,
        }
        for rank in (1, 2)
    ]
    assert answered == {"queries": 1, "may_be_missing_for": 0}


@pytest.mark.parametrize(
    ("column", "owner", "kind"), [("query", "query_id", "queries"), ("user_id", "user_id", "users")]
)
def test_a_table_of_users_or_queries_goes_to_a_file(
    column: str, owner: str, kind: str, stage: RecordingStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unproven = [replace(answer("v", rank), proven=False) for rank in (1, 2)]
    stage.result = Recommendations([answer("u", 1), *unproven])
    stage.result.never_trained_on = kind
    tables.write(tmp_path / "in.parquet", {column: ["x"]})
    output = tmp_path / "out.parquet"
    command = ["recommend", "--input", str(tmp_path / "in.parquet")]
    assert run([*command, "-o", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}  (3 lines, 2 {kind})\n"
    written: dict[str, Any] = tables.read(output).to_pydict()
    assert list(written) == [owner, "rank", "item_id", "title", "score", "proven"]
    assert written["proven"] == [True, False, False]
    assert written[owner] == ["u", "v", "v"] and written["score"] == [-0.5, -0.5, -1.0]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"3 items for 2 {kind}") and owner in out and "proven" not in out
    assert run([*command, "-o", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": str(output),
        "lines": 3,
        kind: 2,
        "may_be_missing_for": 1,
        "never_trained_on": kind,
    }


class Lookup:
    """A recommender that knows the item i1."""

    name, row_of, similarity_source = "tuned", {"i1": 0}, "embeddings"
    trained_on = TrainedOn(histories=True, queries=False)
    files = SimpleNamespace(blend=None)

    def check(self, histories: Any = None, queries: Any = None, **_: Any) -> None:
        if histories and histories[0] != ["i1"]:
            raise InputError("items without a semantic ID")

    def recommend(self, histories: Any = None, queries: Any = None, *, k: int, **_: Any) -> list[RecommendedList]:
        return [RecommendedList([RecommendedItem(1, "i2", "Hüt", -k)]) for _ in histories or queries]

    def similar(self, item_id: str, k: int) -> list[SimilarItem]:
        return [SimilarItem(rank, f"i{rank}", "Hat", 1 / rank, 3 - rank) for rank in range(1, k + 1)]

    def tokens(self, item_id: str) -> str:
        return "<a_1><b_2>"


class Stdin:
    def __init__(self, lines: list[bytes]) -> None:
        self.buffer = lines


def test_lines_of_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    loaded: list[Any] = []

    def load(*given: Any, **more: Any) -> Lookup:
        loaded.append((given, more))
        return Lookup()

    monkeypatch.setattr("gti_cli.recommender.recommender.Recommender.load", load)
    lines = [b'{"history": ["i1"], "id": "u"}\n', b'{"history": ["i9"]}\n', b"\n", b'{"query": "hat", "k": 3}']
    monkeypatch.setattr("sys.stdin", Stdin(lines))
    command = ["recommend", "tuned", "-w", "space", "--input", "-", "-k", "5", "--device", "cpu"]
    assert run(command) == 2
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    item = {"rank": 1, "item_id": "i2", "title": "Hüt"}
    assert found == [
        {"line": 1, "id": "u", "items": [{**item, "score": -5}], "proven": True, "cut": 0},
        {"line": 2, "error": "items without a semantic ID."},
        {"line": 4, "items": [{**item, "score": -3}], "proven": True, "cut": 0},
    ]
    assert "1 of 3 lines could not be answered" in captured.err
    assert "never saw queries in training" in captured.err and "never saw histories" not in captured.err
    ((given, more),) = loaded
    assert given == (Path("space"), "tuned") and (more["device"], more["base"], more["seed"]) == ("cpu", None, 0)
    monkeypatch.setattr("sys.stdin", Stdin(lines[:1]))
    assert run([*command, "-q"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 and captured.err == ""
    monkeypatch.setattr(Lookup, "files", SimpleNamespace(blend=object()))  # which refuses queries
    monkeypatch.setattr("sys.stdin", Stdin(lines[:1]))
    assert run(command) == 0 and "never saw" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Stdin(lines))

    def closed(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    replaced: list[Any] = []
    monkeypatch.setattr("gti_cli.commands.recommend._quiet_stdout", lambda: replaced.append(1))
    monkeypatch.setattr("builtins.print", closed)
    assert run([*command, "-q"]) == 0 and replaced == [1] and capsys.readouterr().err == ""


def test_similar_items(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("gti_cli.recommender.files.read_lookup", lambda _: Lookup())
    assert run(["recommend", "--similar-to", "i1", "-k", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Like i1 <a_1><b_2>, by embeddings") and "shared_levels" in out and "0.5000" in out
    assert run(["recommend", "--similar-to", "i1", "-k", "2", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert (answered["by"], answered["tokens"], len(answered["similar"])) == ("embeddings", "<a_1><b_2>", 2)
    assert answered["similar"][1] == {
        **{"rank": 2, "item_id": "i2", "title": "Hat", "similarity": 0.5, "shared_levels": 1},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "-", "--history", "i1"], "--history has no meaning with --input -"),
        (["--input", "-", "-o", "lists.parquet"], "-o has no meaning with --input -"),
        (["--input", "-", "--candidates", "c.csv"], "--candidates has no meaning with --input -"),
        (["--input", "-", "--ties", "refuse"], "--ties is about a table of interactions"),
        (["--input", "-", "-k", "0"], "-k is 0"),
        (["--similar-to", "i1", "--query", "hat"], "--query has no meaning with --similar-to"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recommend", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""


@pytest.mark.parametrize("name", ["lists.csv", "absent/lists.parquet", "folder.parquet"])
def test_an_output_that_cannot_be_written_is_refused_before_the_search(
    name: str, stage: RecordingStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.parquet").mkdir()
    assert run(["recommend", "--query", "hat", "-o", str(tmp_path / name)]) == 2
    assert "cannot write the recommendations there" in capsys.readouterr().err
    assert stage.calls == []
