"""
Run Python code as Livy's interpreter does.

The code is split at the lines with magics; statements run one after the other, and the value of the last one is printed
as the interactive interpreter prints it. What is printed is the output. Of an exception, the frame of the statement
itself is left out, and those of its functions stay.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_synapse_livy.emulator.spark.outputs import JSON_MIME, Output, error_output, picture, table

__all__ = ["new_namespace", "run_python"]

#: The name of the file that code has in tracebacks.
_FILE = "<stdin>"


class _UnknownMagicError(Exception):
    """A line with a magic that does not exist. Its name is what Livy answers."""


def new_namespace() -> dict[str, Any]:
    """
    Return the global names that the code of a session shares.

    It is the module ``__main__``: functions of that are sent to Spark's workers whole, and not by their name.
    """
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    return module.__dict__


def run_python(code: str, namespace: dict[str, Any]) -> Output:
    """Run code, and return its output."""
    printed, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaints):
        try:
            data = _run_parts(_parts(code), namespace)
        except _UnknownMagicError as unknown:
            return error_output("UnknownMagic", str(unknown), [f"UnknownMagic: {unknown}\n"])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # what no Python can be made of
            return _failure(error)
        except _CodeError as failed:
            return _failure(failed.error, failed.own_frames)
    text = (printed.getvalue() + complaints.getvalue()).rstrip()
    if text or not data:
        data["text/plain"] = text
    return {"status": "ok", "data": data}


class _CodeError(Exception):
    """
    The code has raised an exception, of whatever class, also one that would end the process.

    :param own_frames: how many frames of its traceback are our own.
    """

    def __init__(self, error: BaseException, own_frames: int) -> None:
        super().__init__(error)
        self.error, self.own_frames = error, own_frames


def _parts(code: str) -> Iterator[str | ast.Module]:
    """
    Yield modules of Python and lines with a magic.

    :raises SyntaxError: if a part between magics is no Python.
    """
    try:
        whole = _parse(code)
    except SyntaxError:
        if not any(line.startswith("%") for line in code.splitlines()):
            raise
    else:
        yield whole
        return
    yield from _split_at_magics(code)


def _split_at_magics(code: str) -> list[str | ast.Module]:
    # A list: that some part is no Python is known before another runs.
    parts: list[str | ast.Module] = []
    lines: list[str] = []
    for line in [*code.rstrip().split("\n"), "%"]:
        if not line.startswith("%"):
            lines.append(line)
            continue
        if lines:
            parts.append(_parse("\n".join(lines)))
        parts.append(line)
        lines = []
    return parts[:-1]


def _parse(code: str) -> ast.Module:
    return ast.parse(code, _FILE)


def _run_parts(parts: Iterator[str | ast.Module], namespace: dict[str, Any]) -> Output:
    """Run all parts, and return the data of the last one."""
    data: Output = {}
    for part in parts:
        data = {}
        if isinstance(part, str):
            data = _run_magic(part, namespace)
        else:
            _run_module(part, namespace)
    return data


def _run_module(module: ast.Module, namespace: dict[str, Any]) -> None:
    """Run the statements of a module; print the value of the last one, if it is an expression."""
    *body, last = module.body or [ast.Pass(lineno=1, col_offset=0)]
    first = ast.Module(body=body, type_ignores=[])
    try:
        # Not under the __future__ imports of this module.
        exec(compile(first, _FILE, "exec", dont_inherit=True), namespace)  # noqa: S102
        exec(compile(ast.Interactive([last]), _FILE, "single", dont_inherit=True), namespace)  # noqa: S102
    except BaseException as error:
        raise _CodeError(error, own_frames=2) from error


_MAGICS: dict[str, Callable[[Any], Output]] = {
    "json": lambda value: {JSON_MIME: value},
    "table": table,
    "matplot": picture,
}


def _run_magic(line: str, namespace: dict[str, Any]) -> Output:
    """Return the data of a magic, which takes the name of a variable, and nothing else."""
    magic, _, name = line[1:].partition(" ")
    if magic not in _MAGICS:
        raise _UnknownMagicError(f"unknown magic command '{magic}'")
    try:
        value = namespace[name.strip()]
    except KeyError as error:
        # As recorded: Livy answers that all is well, and puts its own reply about the error where the data should be.
        return {"msg_type": "execute_reply", "content": _failure(error)}
    try:
        return _MAGICS[magic](value)
    except Exception as error:
        raise _CodeError(error, own_frames=sys.maxsize) from error


def _failure(error: BaseException, own_frames: int | None = None) -> Output:
    """
    Return the output for an exception.

    :param own_frames: how many frames of its traceback to leave out; None for all, and for the headline as well.
    """
    if own_frames is None:
        return error_output(type(error).__name__, str(error), traceback.format_exception_only(error))
    frames = error.__traceback__
    while frames and own_frames:
        frames, own_frames = frames.tb_next, own_frames - 1
    lines = [*traceback.format_tb(frames), *traceback.format_exception_only(error)]
    return error_output(type(error).__name__, str(error), ["Traceback (most recent call last):\n", *lines])
