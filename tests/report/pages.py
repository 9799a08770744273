"""Reading a page back: its tables as text."""

from __future__ import annotations

from html.parser import HTMLParser


class _Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self._cell, self._caption = [], None, None

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag == "caption":
            self._caption = []
        elif tag == "br" and self._cell is not None:
            self._cell.append(" | ")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None
        elif tag == "caption":
            self.tables[-1]["caption"] = " ".join("".join(self._caption).split())
            self._caption = None

    def handle_data(self, data):
        for sink in (self._cell, self._caption):
            if sink is not None:
                sink.append(data)


def tables_of(page):
    """All tables of a page: dicts of ``caption`` and ``rows`` (lists of cell texts, the header first)."""
    parser = _Tables()
    parser.feed(page)
    return parser.tables


def table_about(page, text):
    """Rows of the one table whose caption contains ``text``, as {first cell: {column: cell}}."""
    found = [table for table in tables_of(page) if text in table["caption"]]
    assert len(found) == 1, [table["caption"] for table in found]
    head, *rows = found[0]["rows"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}
