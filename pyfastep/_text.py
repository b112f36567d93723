"""Short texts: a table in Markdown, one line out of an error or of a process that failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from subprocess import CompletedProcess


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> str:
    """A table in Markdown; columns are aligned to the right, but for those whose numbers are in `left`."""
    rule = ["---" if index in left else "---:" for index in range(len(columns))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [columns, rule, *rows])


def first_line(error: BaseException) -> str:
    """The first line of an error's text, its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def last_line(failed: CompletedProcess[str]) -> str:
    """What a process said last on standard error, which of a Python traceback is the error itself."""
    lines = failed.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with {failed.returncode}"
