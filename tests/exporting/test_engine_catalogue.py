from __future__ import annotations

from pathlib import Path

import numpy as np

from gti_cli.exporting.engine_catalogue import CatalogueExport, EngineCatalogue, WrittenFile

CODES = np.asarray([[0, 1], [1, 0], [0, 1]], dtype=np.int32)


def test_item_tokens_are_looked_up_level_by_level() -> None:
    ids = [np.asarray([70, 50]), np.asarray([9, 3])]  # in no order: the codes were added one by one
    catalogue = EngineCatalogue(["a", "b", "c"], CODES, [2, 2], token_ids=ids, vocabulary=71)
    assert catalogue.item_tokens().tolist() == [[70, 3], [50, 9], [70, 3]]
    assert EngineCatalogue(["a", "b", "c"], CODES, [2, 2]).item_tokens().tolist() == CODES.tolist()
    assert (catalogue.levels, catalogue.semantic_ids) == (2, 2)


def test_numbers_for_json_name_the_files_of_an_engine(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("12345")
    files = [WrittenFile(tmp_path / "x", "things", 3)]
    plain = {"output": str(tmp_path / "x"), "items": 3, "levels": 2, "from": "made"}
    assert CatalogueExport(None, 3, 2, 2, "made", files).numbers() == plain
    told = CatalogueExport("static", 3, 2, 2, "made", files, command="run", facts={"tokens": 4}).numbers()
    entry = {"path": str(tmp_path / "x"), "holds": "things", "rows": 3, "bytes": 5}
    assert told == {**plain, "command": "run", "engine": "static", "semantic_ids": 2, "files": [entry], "tokens": 4}
