"""Files stay under 400 lines and functions under 40: split along a seam before that."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
CODE = {".py", ".cc", ".h", ".inl", ".cmake", ".sh"}

Function = tuple[int, str, int]  # first line, name, count of lines


def python_functions(text: str) -> Iterator[Function]:
    """Functions with their length, decorators and docstrings not counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
            doc_lines = (doc.end_lineno or doc.lineno) - doc.lineno + 1 if doc else 0
            yield node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1 - doc_lines


def blank(match: re.Match[str]) -> str:
    """Keeps the line count of what is blanked out."""
    return "\n" * match[0].count("\n") or " "


# Comments, raw strings, strings, characters, preprocessor lines with their continuations.
NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\''
    r"|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
    re.DOTALL | re.MULTILINE,
)
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b(?![^{]*\)\s*(const|noexcept|override|final|\s)*$)")


def cpp_functions(text: str) -> Iterator[Function]:
    """Functions with their length from the first line of the signature to the closing brace.

    A brace opens a function if it stands in a namespace or a class and a parameter list stands before it; what is
    inside a function (loops, lambdas, initializers) belongs to it.
    """
    code = NOT_CODE.sub(blank, text)
    stack: list[tuple[str, int, str]] = []  # kind of brace, first line, name
    head_start = 0
    for brace in re.finditer(r"[{};]", code):
        head = code[head_start : brace.start()]
        line = code.count("\n", 0, head_start + len(head) - len(head.lstrip())) + 1
        if brace[0] == "{":
            inside_function = any(kind == "function" for kind, _, _ in stack)
            name = re.search(r"([\w:~]+)\s*\(", head)
            kind = "scope" if SCOPE.search(head) else "function" if name and not inside_function else "other"
            stack.append(("other" if inside_function else kind, line, name[1] if name else ""))
        elif brace[0] == "}" and stack:
            kind, first, name_text = stack.pop()
            if kind == "function":
                yield first, name_text, code.count("\n", 0, brace.start()) + 1 - first + 1
        head_start = brace.end()


def test_the_function_finders_find() -> None:
    """Guards the guards: both finders report what is there."""
    python = 'def f(a):\n    """Doc."""\n    return a\n\nclass C:\n    async def g(self):\n        pass\n'
    assert list(python_functions(python)) == [(1, "f", 2), (6, "g", 2)]
    cpp = (
        "namespace a {\nstruct S { int f() const {\n return 1; }  // }\n int x = 1; };\n"
        '#define M {\nvoid S::g(\n  int x) {\n  auto l = [] { return "}"; };\n  if (x) { l(); }\n}\n'
        "int t[] = {1, 2};\n}\n"
    )
    assert list(cpp_functions(cpp)) == [(2, "f", 2), (6, "S::g", 5)]


def test_files_are_short(repository: Path, sources: list[Path]) -> None:
    lengths = {path: len((repository / path).read_text().splitlines()) for path in sources if path.suffix in CODE}
    long = {str(path): lines for path, lines in lengths.items() if lines >= MAX_FILE_LINES}
    assert not long, f"files of {MAX_FILE_LINES} lines or more, split them by purpose: {long}"


def test_functions_are_short(repository: Path, sources: list[Path]) -> None:
    finders = {".py": python_functions, ".cc": cpp_functions, ".h": cpp_functions, ".inl": cpp_functions}
    long = [
        f"{path}:{line} {name}: {lines} lines"
        for path in sources
        if path.suffix in finders
        for line, name, lines in finders[path.suffix]((repository / path).read_text())
        if lines >= MAX_FUNCTION_LINES
    ]
    assert not long, f"functions of {MAX_FUNCTION_LINES} lines or more, give their parts names: {long}"
