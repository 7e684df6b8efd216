"""The sample data: the output of `make_sample.py`, and the committed files."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
sys.path.insert(0, str(SAMPLE))

from rental_world import baselines, tables, words  # noqa: E402

TABLES = ("items", "titles", "interactions", "queries")


def read(name: str) -> dict[str, list]:
    return pq.read_table(SAMPLE / f"{name}.parquet").to_pydict()


@pytest.fixture(scope="module")
def items() -> dict[str, list]:
    return read("items")


@pytest.fixture(scope="module")
def histories(items: dict[str, list]) -> list[list[int]]:
    """Items by row number, by user, as the file orders them."""
    row = {item: number for number, item in enumerate(items["item_id"])}
    rows = read("interactions")
    found: dict[str, list[int]] = {}
    for user, item in zip(rows["user_id"], rows["item_id"], strict=True):
        found.setdefault(user, []).append(row[item])
    return list(found.values())


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_word_lists_agree_with_one_another() -> None:
    for kind in words.KINDS:
        assert set(kind.materials) <= set(words.FEEL), kind.noun
        assert set(kind.occasions) <= set(words.OCCASIONS), kind.noun
        assert kind.group in words.DETAILS and kind.group in words.PATTERNS, kind.noun
        assert any(kind.line in brand.lines for brand in words.BRANDS.values()), kind.noun
    for occasion in words.OCCASIONS.values():
        assert {category for step in occasion.plan for category in step} <= set(words.CATEGORIES), occasion.name
    for style in words.STYLES.values():
        assert set(style.materials) <= set(words.FEEL) and set(style.families) <= set(words.COLOURS), style.name
    for brand in words.BRANDS.values():
        assert set(brand.styles) <= set(words.STYLES) and set(brand.lines) <= set(words.LINE_NAMES), brand.name


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", "seed"), ("second", "seed"), ("third", "other")):
        tables.write_world(tmp_path / name, tables.draw_world(seed, items=150, users=60, queries=20))
    for table in TABLES:
        first, second, third = (
            (tmp_path / name / f"{table}.parquet").read_bytes() for name in ("first", "second", "third")
        )
        assert first == second
        assert first != third


def test_committed_tables_are_what_the_script_makes(tmp_path: Path) -> None:
    # Compared by content: other releases of pyarrow write the same rows in other bytes.
    import make_sample

    tables.write_world(tmp_path, tables.draw_world(make_sample.SEED, items=1_000, users=2_000, queries=300))
    for table in ("items", "titles", "queries"):
        assert pq.read_table(tmp_path / f"{table}.parquet").equals(pq.read_table(SAMPLE / f"{table}.parquet")), table
    made, committed = (pq.read_table(folder / "interactions.parquet").to_pylist() for folder in (tmp_path, SAMPLE))
    # Draws depend on the last bit of exp(), which differs between processors: allow for a few other histories.
    assert len(made) == len(committed)
    assert np.mean([one == other for one, other in zip(made, committed, strict=True)]) > 0.95


def test_items(items: dict[str, list]) -> None:
    assert list(items) == ["item_id", "title", "description", "brand", "categories"]
    assert len(items["item_id"]) == 1_000 == len(set(items["item_id"])) == len(set(items["title"]))
    assert items["item_id"][0] == "R0001"
    assert set(items["brand"]) <= set(words.BRANDS)
    assert set(items["categories"]) == set(words.CATEGORIES)
    for title, description in zip(items["title"], items["description"], strict=True):
        assert title == title.strip() and "  " not in title
        assert description[0].isupper() and description.endswith(".") and "{" not in description
        assert 1 <= description.count(". ") + 1 <= 3


def test_pairs_have_the_texts_of_the_items(items: dict[str, list]) -> None:
    assert read("titles") == {name: items[name] for name in ("item_id", "title", "description")}


def test_interactions(items: dict[str, list]) -> None:
    schema = pq.read_schema(SAMPLE / "interactions.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("user_id", "string"),
        ("item_id", "string"),
        ("timestamp", "int64"),
    ]
    rows = read("interactions")
    assert set(rows["item_id"]) <= set(items["item_id"])
    by_user: dict[str, list[tuple[int, str]]] = {}
    for user, item, when in zip(rows["user_id"], rows["item_id"], rows["timestamp"], strict=True):
        by_user.setdefault(user, []).append((when, item))
    assert len(by_user) == 2_000
    for history in by_user.values():
        times = [when for when, _ in history]
        assert 5 <= len(history) <= 25
        assert all(earlier < later for earlier, later in pairwise(times))
        assert len({item for _, item in history}) == len(history)


def test_popularity_is_skewed_and_some_items_are_rare(histories: list[list[int]]) -> None:
    counts = np.sort(np.bincount([item for history in histories for item in history], minlength=1_000))[::-1]
    assert counts[:100].sum() > 0.25 * counts.sum()
    assert 100 < np.sum(counts <= 5) < 350


def test_queries(items: dict[str, list]) -> None:
    rows = read("queries")
    assert set(rows) == {"query", "item_id", "relevance", "query_id", "split"}
    assert set(rows["item_id"]) <= set(items["item_id"])
    assert set(rows["relevance"]) == {0, 1, 2}
    seen: dict[str, dict[str, set]] = {}
    for query, item, grade, number, split in zip(*rows.values(), strict=True):
        facts = seen.setdefault(number, {"query": set(), "split": set(), "good": set(), "items": set()})
        assert item not in facts["items"]
        facts["query"].add(query)
        facts["split"].add(split)
        facts["items"].add(item)
        if grade == 2:
            facts["good"].add(item)
    assert len(seen) == 300
    assert all(len(facts["query"]) == len(facts["split"]) == 1 and facts["good"] for facts in seen.values())
    splits = [next(iter(facts["split"])) for facts in seen.values()]
    assert {name: splits.count(name) for name in ("train", "valid", "test")} == {"train": 210, "valid": 45, "test": 45}


def test_recall_by_hand() -> None:
    split = baselines.leave_one_out([[0, 1, 2], [0, 1, 3], [0, 2, 1]], items=5)
    assert split.known == [[0, 1], [0, 1], [0, 2]] and split.target == [2, 3, 1]
    # Counts: item 0 three times, item 1 twice, item 2 once. A user's own items are left out; ties share their ranks.
    popular = baselines.popularity_scorer(split)
    assert baselines.recall(split, popular, k=1) == pytest.approx(2 / 3)
    assert baselines.markov_scorer(split)([0]).argmax() == 1


def test_histories_can_be_learned(items: dict[str, list], histories: list[list[int]]) -> None:
    texts = [f"{title} {text}" for title, text in zip(items["title"], items["description"], strict=True)]
    recalls = baselines.report(histories, texts)
    assert recalls["item_knn"] > 3 * recalls["popularity"]
    assert recalls["markov"] > 3 * recalls["popularity"]
    assert 0.10 < recalls["item_knn"] < 0.35
    # Texts predict the next item, also items that few have rented (chance is .01).
    assert recalls["text"] > recalls["item_knn"]
    assert recalls["rare_text"] > 0.05
    assert recalls["rare_text"] > recalls["rare_item_knn"]


def test_sizes() -> None:
    assert folder_bytes(SAMPLE / "lm") <= 6_000_000
    assert folder_bytes(SAMPLE) <= 8_000_000


def test_language_model_loads_with_plain_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    tokenizer = transformers.AutoTokenizer.from_pretrained(SAMPLE / "lm")
    model = transformers.AutoModelForCausalLM.from_pretrained(SAMPLE / "lm", dtype=torch.float32)
    assert model.config.model_type == "qwen3" and model.config.tie_word_embeddings
    assert model.config.vocab_size == len(tokenizer)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert not list((SAMPLE / "lm").glob("*.bin"))
    text = "Ivory Silk Slip Dress – naïve, 12 €\nfor a black-tie gala"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    question = [{"role": "user", "content": "Which category does Emerald Satin Ball Gown belong to?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "Dresses > Evening"


def test_chat_template_round_trip() -> None:
    transformers = pytest.importorskip("transformers")
    from rental_world.tiny_lm import chat_text

    tokenizer = transformers.AutoTokenizer.from_pretrained(SAMPLE / "lm")
    messages = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "What goes with a veil?"},
        {"role": "assistant", "content": "pumps"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == chat_text(messages)
    assert rendered.endswith("<|im_start|>assistant\npumps<|im_end|>\n")
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert rendered == prompt + "pumps<|im_end|>\n"
    ids = tokenizer(rendered)["input_ids"]
    assert tokenizer.decode(ids) == rendered
    assert ids.count(tokenizer.eos_token_id) == 3


def test_training_record_matches_the_model() -> None:
    record = json.loads((SAMPLE / "lm" / "training.json").read_text(encoding="utf-8"))
    assert set(record["heldout_perplexity"]) == {"product", "prose", "chat", "catalogue"}
    assert all(1 < value < 30 for value in record["heldout_perplexity"].values())
    settings = record["settings"]
    assert record["training_tokens"] == settings["steps"] * settings["batch_size"] * settings["length"]
    config = json.loads((SAMPLE / "lm" / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"]) == (settings["width"], settings["layers"])


def test_making_the_model_is_deterministic(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from rental_world.tiny_lm import Settings, make_lm

    small = Settings(
        vocabulary=600, width=32, layers=1, feed_forward=32, steps=3, batch_size=2, length=64, warmup=1,
        tokenizer_documents=100, heldout_documents=4,
    )  # fmt: skip
    catalogue = tables.draw_world("seed", items=20, users=1, queries=1).products
    for name in ("first", "second"):
        make_lm(tmp_path / name, "seed", catalogue, small, log=lambda line: None)
    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_corpus_holds_no_product_of_the_catalogue() -> None:
    pytest.importorskip("torch")
    from rental_world.tiny_lm import Corpus

    unrestricted = Corpus("seed", frozenset())
    titles = [unrestricted.product().title for _ in range(50)]
    corpus = Corpus("seed", frozenset(titles[:10]))
    assert [corpus.product().title for _ in range(40)] == titles[10:]
