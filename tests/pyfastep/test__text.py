"""Tables in Markdown, and one line out of longer texts."""

from __future__ import annotations

import subprocess
import sys

from pyfastep._text import first_line, last_line, markdown_table


def test_a_table() -> None:
    assert markdown_table(["a", "b", "c"], [["1", "2", "3"]]) == "| a | b | c |\n| --- | ---: | ---: |\n| 1 | 2 | 3 |"
    assert markdown_table(["a", "b"], [], left=(1,)) == "| a | b |\n| ---: | --- |"


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"


def test_the_last_line_of_a_process() -> None:
    def run(code: str) -> str:
        return last_line(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False))

    assert run("raise ValueError('wrong')") == "ValueError: wrong"
    assert run("import sys; sys.exit(3)") == "the process ended with 3"
