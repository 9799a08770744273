"""Templates of pages: every value is escaped, and a value that is missing is an error."""

from __future__ import annotations

import jinja2


def templates() -> jinja2.Environment:
    """The templates of `orthoray.report`; a page may add its own filters."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("orthoray.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
