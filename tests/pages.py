"""Reads a page as a browser would, as far as tests ask."""

from html.parser import HTMLParser

VOID = {"br", "circle", "image", "img", "line", "meta", "path", "polyline", "rect"}


class Page(HTMLParser):
    """What a browser would fetch or run, whether every element is closed, and the text of each table cell."""

    def __init__(self, text: str):
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "srcset", "poster", "data", "xlink:href"} or (name == "href" and tag != "a"):
                self.fetched.append(value)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data
