"""Prompts that nobody draws here: a list of words, and a function of one's own.

``moderation.words_file`` names a text file with one word or phrase a line; what follows ``#`` is a remark.
Upper and lower case are the same, and so are letters that only look different to a computer ("ﬁ" and "fi",
full-width letters, accents). Words count as a whole: "art" does not stop "party", but "_art_" and "art2".

``moderation.hook`` names ``module:function``, a function that takes the prompt and returns why it is refused,
as one sentence for people, or None. It is called in the web processes and in the terminal, so it has to be
quick; where it breaks down, nothing is submitted.
"""

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from settings import ModerationSettings, SettingsError

Objection = Callable[[str], str | None]
"""Takes a prompt; returns why it is refused, or None."""

WORDS_REFUSED = "Pictures with these words are not drawn here: write the prompt in other words."
_INVISIBLE = ("Cf", "Mn")
_LETTER = r"[^\W\d_]"


class PromptRefused(ValueError):
    """The prompt is one that is not drawn here; the text says so."""


class Moderation:
    """All objections to prompts that the settings name."""

    def __init__(self, objections: Iterable[Objection] = ()) -> None:
        self._objections = tuple(objections)

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Look at the prompt, and all else that is text, of a spec as plain data. Raises PromptRefused."""
        for text in _texts(parameters):
            for object_to in self._objections:
                reason = object_to(text)
                if reason is not None:
                    raise PromptRefused(reason)


def moderation(settings: ModerationSettings) -> Moderation:
    """What the settings ask for. Raises SettingsError: the file or the function cannot be used."""
    objections: list[Objection] = []
    if settings.words_file:
        objections.append(_words(Path(settings.words_file)))
    if settings.hook:
        objections.append(_hook(settings.hook))
    return Moderation(objections)


def words_filter(words: Iterable[str]) -> Objection:
    """Objects to a prompt that holds one of these words or phrases."""
    phrases = filter(None, map(_plain, words))
    pattern = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases)
    if not pattern:
        return lambda _prompt: None
    forbidden = re.compile(rf"(?<!{_LETTER})(?:{pattern})(?!{_LETTER})")
    return lambda prompt: WORDS_REFUSED if forbidden.search(_plain(prompt)) else None


def _words(file: Path) -> Objection:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The setting 'moderation.words_file' cannot be used: {error}.") from error
    return words_filter(line.partition("#")[0] for line in lines)


def _hook(name: str) -> Objection:
    module, _, function = name.partition(":")
    try:
        hook: Objection = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"The setting 'moderation.hook' cannot be used: {error}; write module:function."
        ) from error
    return hook


def _plain(text: str) -> str:
    """As it is compared: without case, accents, look-alike forms, invisible signs and needless spaces."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    visible = "".join(c for c in folded if unicodedata.category(c) not in _INVISIBLE)
    return " ".join(visible.split())


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
