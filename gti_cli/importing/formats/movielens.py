"""MovieLens: 100k (``u.data``), 1M and 10M (``ratings.dat``), 20M to the latest (``ratings.csv``)."""

from __future__ import annotations

from gti_cli.importing.formats.base import Advance, Files, Format, named, need_one
from gti_cli.importing.gather import ImportedData, number
from gti_cli.importing.records import fields, table_rows

_LATIN = "latin-1"
# Names of the 19 flags of u.item, in their order; u.genre says the same where it is there.
_GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_FIRST_FLAG = 5  # behind id, title, release date, video release date and address


def _read_100k(files: Files, data: ImportedData, advance: Advance) -> None:
    ratings = need_one(files, "MovieLens 100k", "u.data")
    for line, (user, item, rating, time, *_) in fields(ratings, "\t", 4):
        where = ratings.where(line)
        data.log.add(user, item, number(time, "time", where), number(rating, "rating", where))
        advance(1)
    for file in named(files, "u.item"):
        for _, row in fields(file, "|", _FIRST_FLAG, encoding=_LATIN):
            genres = [name for name, flag in zip(_GENRES, row[_FIRST_FLAG:], strict=False) if flag == "1"]
            data.items.add(row[0], {"title": row[1], "categories": genres, "release_date": row[2]})
            advance(1)


def _read_dat(files: Files, data: ImportedData, advance: Advance) -> None:
    ratings = need_one(files, "MovieLens 1M or 10M", "ratings.dat")
    for line, (user, item, rating, time, *_) in fields(ratings, "::", 4):
        where = ratings.where(line)
        data.log.add(user, item, number(time, "time", where), number(rating, "rating", where))
        advance(1)
    for file in named(files, "movies.dat"):
        # 1M is in Latin-1, 10M in UTF-8.
        encoding = "utf-8" if _is_utf8(file.path.parent) else _LATIN
        for _, (item, title, genres, *_rest) in fields(file, "::", 3, encoding=encoding):
            data.items.add(item, {"title": title, "categories": genres.split("|")})
            advance(1)


def _is_utf8(folder: object) -> bool:
    return "10m" in str(folder).lower() or "ml-10" in str(folder).lower()


def _read_csv(files: Files, data: ImportedData, advance: Advance) -> None:
    ratings = need_one(files, "MovieLens (CSV)", "ratings.csv")
    for line, (user, item, rating, time) in table_rows(ratings, ["userId", "movieId", "rating", "timestamp"]):
        where = ratings.where(line)
        data.log.add(user, item, number(time, "time", where), number(rating, "rating", where))
        advance(1)
    for file in named(files, "movies.csv"):
        for _, (item, title, genres) in table_rows(file, ["movieId", "title", "genres"]):
            data.items.add(item, {"title": title, "categories": _genres(genres)})
            advance(1)


def _genres(text: str) -> list[str]:
    return [] if text == "(no genres listed)" else text.split("|")


def _is_csv(files: Files) -> bool:
    return any(file.first_line().startswith("userId,movieId,rating") for file in named(files, "ratings.csv"))


FORMATS = (
    Format("movielens-100k", "MovieLens 100k", lambda files: bool(named(files, "u.data")), _read_100k),
    Format("movielens-1m", "MovieLens 1M or 10M", lambda files: bool(named(files, "ratings.dat")), _read_dat),
    Format("movielens", "MovieLens (CSV)", _is_csv, _read_csv),
)
