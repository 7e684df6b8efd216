"""Data of single shops and services: H&M, Yelp, Steam, KuaiRec, Vibrent."""

from __future__ import annotations

from collections.abc import Callable

from gti_cli.errors import InputError
from gti_cli.importing.formats.base import Advance, Files, Format, named, need_one
from gti_cli.importing.gather import ImportedData, number
from gti_cli.importing.records import need, objects, table_rows
from gti_cli.tables.written_times import WrittenTimes


def _read_hm(files: Files, data: ImportedData, advance: Advance) -> None:
    sales = need_one(files, "H&M", "transactions_train.csv")
    times = WrittenTimes(sales.where)
    for line, (date, user, item) in table_rows(sales, ["t_dat", "customer_id", "article_id"]):
        data.log.add(user, item, times.seconds(date, line))
        advance(1)
    for file in named(files, "articles.csv"):
        columns = ["article_id", "prod_name", "detail_desc"]
        groups = ["index_group_name", "product_group_name", "product_type_name"]
        colour = ["colour_group_name"]
        for _, row in table_rows(file, columns, optional=[*groups, *colour]):
            item, title, description, *more = row
            texts = {"title": title, "description": description, "categories": more[:3], "colour": more[3]}
            data.items.add(item, texts)
            advance(1)


def _read_yelp(files: Files, data: ImportedData, advance: Advance) -> None:
    reviews = need_one(files, "Yelp", "*review.json")
    times = WrittenTimes(reviews.where)
    for line, record in objects(reviews):
        user, item, date = need(record, ["user_id", "business_id", "date"], reviews, line)
        stars = record.get("stars")
        rating = float("nan") if stars is None else number(stars, "rating", reviews.where(line))
        data.log.add(user, item, times.seconds(str(date), line), rating)
        advance(1)
    for file in named(files, "*business.json"):
        for line, record in objects(file):
            (item,) = need(record, ["business_id"], file, line)
            categories = [part.strip() for part in (record.get("categories") or "").split(",")]
            data.items.add(item, {"title": record.get("name"), "categories": categories, "city": record.get("city")})
            advance(1)


def _read_steam(files: Files, data: ImportedData, advance: Advance) -> None:
    reviews = need_one(files, "Steam", "steam_reviews.json", "steam_new.json")
    times = WrittenTimes(reviews.where)
    for line, record in objects(reviews):
        user, item, date = need(record, ["username", "product_id", "date"], reviews, line)
        data.log.add(user, item, times.seconds(str(date), line))
        advance(1)
    for file in named(files, "steam_games.json"):
        for _, record in objects(file):
            if record.get("id") is None:  # a few games have no id and cannot be joined
                data.log.dropped["games without an id"] += 1
                continue
            texts = {
                "title": record.get("title") or record.get("app_name"),
                "categories": record.get("genres"),
                "tags": record.get("tags"),
                "brand": record.get("developer"),
            }
            data.items.add(record["id"], texts)
            advance(1)


def _read_kuairec(files: Files, data: ImportedData, advance: Advance) -> None:
    matrices = named(files, "big_matrix.csv") or named(files, "small_matrix.csv")
    matrix = need_one(matrices, "KuaiRec", "big_matrix.csv", "small_matrix.csv")
    if len(named(files, "big_matrix.csv", "small_matrix.csv")) > 1:
        data.notes.append("big_matrix.csv is read; small_matrix.csv, whose users it has too, is passed over")
    for line, (user, item, time, ratio) in table_rows(matrix, ["user_id", "video_id", "timestamp", "watch_ratio"]):
        if not time:  # some rows of the small matrix have none
            data.log.dropped["rows without a time"] += 1
            continue
        where = matrix.where(line)
        data.log.add(user, item, number(time, "time", where), number(ratio, "watch ratio", where))
        advance(1)
    for file in named(files, "kuairec_caption_category.csv"):
        levels = [f"{level}_level_category_name" for level in ("first", "second", "third")]
        for _, row in table_rows(file, ["video_id"], optional=["caption", "topic_tag", *levels]):
            item, caption, tags, *categories = row
            data.items.add(item, {"title": caption or tags, "tags": tags, "categories": categories})
            advance(1)


def _read_vibrent(files: Files, data: ImportedData, advance: Advance) -> None:
    import ast

    rentals = need_one(files, "Vibrent", "user_activity_triplets.csv")
    times = WrittenTimes(rentals.where)
    for line, (user, item, start) in table_rows(rentals, ["customer.id", "outfit.id", "rentalPeriod.start"], ";"):
        data.log.add(user, item, times.seconds(start, line))
        advance(1)
    for file in named(files, "outfits.csv"):
        columns = ["id", "name", "description", "group", "owner", "outfit_tags"]
        for line, (item, title, description, group, owner, tags) in table_rows(file, columns, ";"):
            try:
                tag_list = ast.literal_eval(tags) if tags else []
            except (ValueError, SyntaxError, MemoryError, RecursionError) as cause:
                raise InputError(
                    "outfit_tags is no list", where=file.where(line), remedy="download the file again"
                ) from cause
            texts = {
                "title": title,
                "description": description,
                "categories": [group],
                "brand": owner,
                "tags": tag_list,
            }
            data.items.add(item, texts)
            advance(1)


def _has(*names: str) -> Callable[[Files], bool]:
    return lambda files: bool(named(files, *names))


FORMATS = (
    Format("hm", "H&M", _has("transactions_train.csv"), _read_hm),
    Format("yelp", "Yelp", _has("*yelp_academic_dataset_review.json", "review.json"), _read_yelp),
    Format("steam", "Steam", _has("steam_reviews.json", "steam_new.json"), _read_steam),
    Format("kuairec", "KuaiRec", _has("big_matrix.csv", "small_matrix.csv"), _read_kuairec),
    Format("vibrent", "Vibrent", _has("user_activity_triplets.csv"), _read_vibrent),
)
