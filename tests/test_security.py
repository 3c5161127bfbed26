"""SECURITY.md promises nothing that no test tries to break."""

import re

from settings import ROOT

PROMISE = re.compile(r"\[`(test_\w+)`\]\(([\w/.]+)\)")
FILE = re.compile(r"\]\(([\w/.]+)\)")


def test_every_promise_names_a_test_that_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    promises = text.partition("## What is promised")[2].partition("## What is not promised")[0]
    rows = [line for line in promises.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    for row in rows:
        assert FILE.search(row), f"no test: {row}"
        for name, file in PROMISE.findall(row):
            assert f"def {name}(" in (ROOT / file).read_text(), f"{name} is not in {file}"
        for file in FILE.findall(row):
            assert (ROOT / file).is_file(), file
