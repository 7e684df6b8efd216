"""Read the HTML pages that the package writes."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = ("meta", "img", "br", "hr")


class PageReader(HTMLParser):
    """Checks that tags close in order, and collects what a page holds.

    Attributes:
        tags: All tags that were opened, in order.
        text: All text.
        links: Values of ``src`` and ``href``.
        rows: The cells of each table row.
        headings: Level and text of each heading.
        pictures: The alternative text of each picture.
        ids: The ``id`` of each element that has one.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.headings: list[tuple[int, str]] = []
        self.pictures: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and its attributes."""
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.pictures.append(values["alt"])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost open tag is closed."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text, in its cell or heading too."""
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if {"h1", "h2", "h3", "h4"} & set(self.open):
            level, text = self.headings[-1]
            self.headings[-1] = level, text + data
