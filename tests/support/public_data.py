"""Small data sets in the forms in which they are published, with their quirks. All of it is invented."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files, compressed where their names say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        path = folder / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(raw))
        elif name.endswith(".bz2"):
            path.write_bytes(bz2.compress(raw))
        elif name.endswith(".zst"):
            with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
                stream.write(raw)
        else:
            path.write_bytes(raw)
    return folder


def _lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def amazon_2014(folder: Path) -> Path:
    """Reviews as JSON lines; metadata as Python literals with single quotes and lists of lists."""
    reviews = _lines(
        {"reviewerID": "A1", "asin": "0000031852", "overall": 5.0, "unixReviewTime": 1370000000, "reviewText": "ok"},
        {"reviewerID": "A1", "asin": "B000000001", "overall": 2.0, "unixReviewTime": 1370000000},
        {"reviewerID": "A2", "asin": "0000031852", "overall": 4.0, "unixReviewTime": 1380000000},
    )
    meta = (
        "{'asin': '0000031852', 'title': 'Girls\\' Tutu &amp; Wand', 'brand': 'Acme', "
        "'categories': [['Toys'], ['Clothing', 'Girls']]}\n"
        "{'asin': 'B000000001', 'description': \"It's soft\", 'price': 3.17}\n"
    )
    return write(folder, {"reviews_Toys_5.json.gz": reviews, "meta_Toys.json.gz": meta})


def amazon_2018(folder: Path) -> Path:
    """Descriptions and categories as lists; HTML in titles; a review that is there twice."""
    review = {"reviewerID": "A1", "asin": "B01", "overall": 5.0, "unixReviewTime": 1500000000, "verified": True}
    meta = _lines(
        {
            "asin": "B01",
            "title": "Pen <b>red</b> &#39;fine&#39;",
            "description": ["A pen.", "Red."],
            "category": ["Office", "Pens"],
        },
        {"asin": "B01", "title": "the same record again", "description": []},
        {"asin": "B02", "title": "Never bought", "brand": "Acme"},
    )
    return write(folder, {"Office_5.json.zst": _lines(review, review), "meta_Office.json.zst": meta})


def amazon_2023(folder: Path) -> Path:
    """Times in milliseconds; the items are parents of variants."""
    reviews = _lines(
        {"rating": 5.0, "asin": "V1", "parent_asin": "P1", "user_id": "U1", "timestamp": 1588687728923},
        {"rating": 1.0, "asin": "V2", "parent_asin": "P2", "user_id": "U1", "timestamp": 1588687728924},
    )
    meta = _lines(
        {"main_category": "All Beauty", "title": "Soap", "store": "Acme", "categories": [], "parent_asin": "P1"}
    )
    return write(folder, {"All_Beauty.jsonl": reviews, "meta_All_Beauty.jsonl": meta})


def movielens_100k(folder: Path) -> Path:
    """Tabs and bars, Latin-1, no headers."""
    flags = "|".join("1" if n in (3, 5) else "0" for n in range(19))
    items = f"1|Misérables, Les (1995)|01-Jan-1995||http://x|{flags}\n2|Shall We Dance? (1996)|11-Jul-1997||http://y|{flags}\n"
    ratings = "196\t1\t3\t881250949\n196\t2\t4\t881250949\n22\t1\t1\t878887116\n"
    return write(folder, {"u.data": ratings, "u.item": items.encode("latin-1")})


def movielens_1m(folder: Path) -> Path:
    """Double colons, Latin-1."""
    movies = "1::Cité des enfants perdus, La (1995)::Adventure|Sci-Fi\n"
    return write(
        folder, {"ratings.dat": "1::1::5::978300760\n2::1::4::978300761\n", "movies.dat": movies.encode("latin-1")}
    )


def movielens_csv(folder: Path) -> Path:
    """Quoted titles with commas."""
    movies = (
        'movieId,title,genres\n1,"American President, The (1995)",Comedy|Drama\n2,Nothing (2001),(no genres listed)\n'
    )
    return write(
        folder,
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.5,1256677221\n1,2,0.5,1256677222\n",
            "movies.csv": movies,
        },
    )


def recbole(folder: Path) -> Path:
    """A header of ``name:type``; times as floats, one with a fraction."""
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t007\t3\t881250949\n7\t8\t4\t881250950.25\n"
    items = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    items += "007\tToy Story\t1995\tAnimation Comedy\n"
    return write(folder, {"tiny.inter": inter, "tiny.item": items})


def lc_rec(folder: Path) -> Path:
    """Lists of items in time order; items by number."""
    texts = {
        "0": {"title": "Pen", "description": "Red", "brand": "Acme", "categories": "Office, Pens"},
        "1": {"title": "Ink"},
    }
    files = {"Toy.inter.json": json.dumps({"0": [0, 1, 0], "1": [1]}), "Toy.item.json": json.dumps(texts)}
    return write(folder, {**files, "Toy.index.json": json.dumps({"0": ["<a_1>"], "1": ["<a_2>"]})})


def mind(folder: Path) -> Path:
    """Impressions out of order; a history whose clicks have no times."""
    behaviors = (
        "2\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n"
        "1\tU1\t11/14/2019 8:00:00 PM\tN1 N2\tN5-1\n"
        "3\tU2\t11/14/2019 8:00:01 PM\t\tN1-1\n"
    )
    news = 'N1\tsports\tsoccer\tA "quoted" title\tAn abstract\thttps://x\t[]\t[]\n'
    return write(folder, {"behaviors.tsv": behaviors, "news.tsv": news})


def hm(folder: Path) -> Path:
    """Article ids with leading zeros, which are text."""
    articles = (
        "article_id,prod_name,detail_desc,product_type_name,product_group_name,index_group_name,colour_group_name\n"
    )
    articles += '0108775015,Strap top,"Jersey top, narrow straps.",Vest top,Garment Upper body,Ladieswear,Black\n'
    sales = "t_dat,customer_id,article_id,price,sales_channel_id\n"
    sales += "2018-09-20,c1,0108775015,0.05,2\n2018-09-21,c1,0999999999,0.03,1\n"
    return write(folder, {"transactions_train.csv.gz": sales, "articles.csv": articles})


def yelp(folder: Path) -> Path:
    """Dates as text, categories as one text."""
    review = {"review_id": "r", "user_id": "u", "business_id": "b", "stars": 3.0, "date": "2018-07-07 22:09:11"}
    business = {"business_id": "b", "name": "Café Zoë", "city": "Reno", "categories": "Cafes, Food", "stars": 3.5}
    return write(
        folder,
        {"yelp_academic_dataset_review.json": _lines(review), "yelp_academic_dataset_business.json": _lines(business)},
    )


def steam(folder: Path) -> Path:
    """Python literals with a prefix of old Pythons; a game without an id."""
    reviews = (
        "{u'username': u'Chaos', u'hours': 0.1, u'product_id': u'725280', u'date': u'2017-12-17', u'text': u'x'}\n"
    )
    games = "{u'id': u'725280', u'app_name': u'Lost Summoner', u'genres': [u'Indie', u'RPG'], u'tags': [u'Casual']}\n"
    games += "{u'app_name': u'Without an id'}\n"
    return write(folder, {"steam_reviews.json.gz": reviews, "steam_games.json.gz": games})


def kuairec(folder: Path) -> Path:
    """Times with fractions, one missing; captions over several lines."""
    matrix = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    matrix += "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.27\n0,9,1,2,,,,0.5\n"
    captions = (
        'video_id,manual_cover_text,caption,topic_tag,first_level_category_name\n3649,x,"two\nlines",[pets],Animals\n'
    )
    return write(
        folder, {"big_matrix.csv": matrix, "small_matrix.csv": matrix, "kuairec_caption_category.csv": captions}
    )


def vibrent(folder: Path) -> Path:
    """Semicolons; tags as a Python list."""
    rentals = "customer.id;outfit.id;rentalPeriod.start;rentalPeriod.end\nc1;outfit.1;2020-02-03;2020-02-10\n"
    outfits = "id;name;description;group;owner;timeCreated;retailPrice;outfit_tags\n"
    outfits += "outfit.1;Red dress;Silk;group.2;Acme;2019;100;\"['Silk', 'Red; dark']\"\n"
    return write(folder, {"user_activity_triplets.csv": rentals, "outfits.csv": outfits})


MAKERS: dict[str, Callable[[Path], Path]] = {
    "amazon-2018": amazon_2018,
    "amazon-2023": amazon_2023,
    "movielens-100k": movielens_100k,
    "movielens-1m": movielens_1m,
    "movielens": movielens_csv,
    "recbole": recbole,
    "lc-rec": lc_rec,
    "mind": mind,
    "hm": hm,
    "yelp": yelp,
    "steam": steam,
    "kuairec": kuairec,
    "vibrent": vibrent,
}
