"""
The key by which a task finds its own code again in a session, which echoes the code of its statements.

It stands in a comment, since a statement has neither name nor tags: in the first line, or after it if that is a magic,
which has to stay first.
"""

from __future__ import annotations

import re

__all__ = ["key_in_code", "with_key_in_code"]

_NAME = "airflow_task_key"

#: What begins a comment, by the kind of code; all others have Python's.
_COMMENTS = {"sql": "--", "spark": "//", "scala": "//", "dotnetspark": "//", "csharp": "//"}

_PATTERN = re.compile(rf"^\s*(?:#|--|//) {_NAME}=([\w-]+)\.([0-9]+)\s*$", re.MULTILINE)


def with_key_in_code(code: str, kind: str, key: str, try_number: int) -> str:
    """
    Return code with a task's key in a comment.

    :param code: the code.
    :param kind: its language.
    :param key: the task's key.
    :param try_number: the number of the task's try: after a failure of the code, the next try runs it again.
    """
    comment = f"{_COMMENTS.get(kind.lower(), '#')} {_NAME}={key}.{try_number}\n"
    first, end, rest = code.partition("\n")
    return f"{first}{end or chr(10)}{comment}{rest}" if first.lstrip().startswith("%") else comment + code


def key_in_code(code: object) -> tuple[str, int] | None:
    """
    Return the key in code, and the number of the try; None if it has none.

    :param code: the code of a statement, as the service echoes it.
    """
    found = _PATTERN.search("\n".join(code.splitlines()[:2])) if isinstance(code, str) else None
    return (found[1], int(found[2])) if found else None
