"""What people wrote, for those of Streamlit's elements that take Markdown: it comes out as it was typed."""

import re

_JOINER = "\u2060"
"""Invisible, and no part of a word: with it, icons, emojis and addresses are not found in the text."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MARKS = re.compile(r"[\\`*_{}\[\]<>$~|#&^=]")
_OPENINGS = re.compile(r":(?=[\w:/+\-])|@(?=[\w\-])|\bwww(?=\.)", re.IGNORECASE)
_LINE_STARTS = re.compile(r"^(?:[-+!]|(\d+)(?=[.)]))")


def plain(text: str) -> str:
    """Markdown that shows ``text`` on one line: no link, icon, emoji, formula or colour comes of it."""
    line = " ".join(_CONTROLS.sub(" ", text).split())
    line = _OPENINGS.sub(lambda found: found[0] + _JOINER, line)
    line = _LINE_STARTS.sub(lambda found: _JOINER + found[0], line)
    return _MARKS.sub(lambda found: "\\" + found[0], line)
