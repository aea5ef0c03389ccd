"""Pages that stand alone: one HTML file with its style and pictures in it, made from the templates beside this file."""

import datetime
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent


def page(title: str, template: str, parts: Mapping[str, str]) -> str:
    """Returns a page of today: `title`, then the template of this file name with its `parts` filled in, all HTML."""
    return Template((HERE / "page.html").read_text()).substitute(
        title=title,
        style=(HERE / "page.css").read_text(),
        when=datetime.datetime.now().strftime("%d %B %Y"),
        content=Template((HERE / template).read_text()).substitute(parts),
    )


def folded(title: str, content: Mapping[str, Any]) -> str:
    """Returns plain values, to be unfolded."""
    text = html.escape(json.dumps(content, indent=1))
    return f"<details><summary>{html.escape(title)}</summary><pre>{text}</pre></details>"
