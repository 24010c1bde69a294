"""
The key by which a task finds its own code again in a session, which echoes the code of its statements.

It stands in a comment, since a statement has neither name nor tags: in the first line, or after it if that is a magic
which has to stay first. Livy's own magics for Python need not: it takes them in any line, and what the last one brings
is the output, so that nothing may come after them, not even a comment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["key_in_code", "with_key_in_code"]

_NAME = "airflow_task_key"

#: What begins a comment, by the kind of code; all others have Python's. In C#, a # begins an order to the compiler.
_COMMENTS = {"sql": "--", **dict.fromkeys(("spark", "scala", "dotnetspark", "sparkdotnet", "dotnet", "csharp"), "//")}

#: The kinds whose code Livy trims before it looks for a magic, and reads line by line, so that a magic stays first.
_TRIMMED = ("spark", "scala")

_LIVY_MAGIC = re.compile(r"%(json|table|matplot)\b")

_PATTERN = re.compile(rf"^\s*(?:#|--|//) {_NAME}=([\w-]+)\.([0-9]+)\s*$")


def with_key_in_code(code: str, kind: str, key: str, try_number: int) -> str:
    """
    Return code with a task's key in a comment.

    :param code: the code.
    :param kind: its language.
    :param key: the task's key.
    :param try_number: the number of the task's try: after a failure of the code, the next try runs it again.
    """
    name = kind.strip().lower()
    comment = f"{_COMMENTS.get(name, '#')} {_NAME}={key}.{try_number}\n"
    if name in _TRIMMED:
        code = code.lstrip()
    elif name not in _COMMENTS and _LIVY_MAGIC.match(code.lstrip()):
        return comment + code
    lines = code.split("\n")
    count = _magic_lines([*lines, ""])
    return "\n".join([*[*lines, ""][:count], comment + "\n".join(lines[count:])])


def key_in_code(code: object) -> tuple[str, int] | None:
    """
    Return the key in code, and the number of the try; None if it has none.

    :param code: the code of a statement, as the service echoes it.
    """
    lines = code.split("\n") if isinstance(code, str) else []
    found = next(filter(None, map(_PATTERN.match, lines[:1] + lines[_magic_lines(lines) :][:1])), None)
    return (found[1], int(found[2])) if found else None


def _magic_lines(lines: Sequence[str]) -> int:
    """Return how many lines a magic has that begins with the first one: a backslash at its end continues a line."""
    if not lines or not lines[0].lstrip().startswith("%"):
        return 0
    return next((number for number, line in enumerate(lines, 1) if not line.rstrip().endswith("\\")), len(lines))
