"""
A Python function as code for a session: its source, its arguments as JSON, and its result as a line of JSON.

The function is sent as it stands, but for its decorators and annotations, which mean nothing there. What it uses of the
module around it would be missing, so it is refused beforehand. The result is printed in a line that begins with a mark,
since what is printed is the one output that every service brings back. Whichever of stdout and stderr comes last, or
comes at all, the result is the last such line: it is printed to both, after all that the function has printed.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import json
import math
import symtable
import tokenize
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line
from airflow_provider_synapse_livy.livy.strict_json import storable, storable_number

__all__ = ["call_code", "printed_by", "result_of"]

#: What the line with the result begins with.
_MARK = "airflow_task_result="

#: What a session of Spark defines, whatever the DAG's module has under these names.
_OF_THE_SESSION = frozenset({"spark", "sc", "sqlContext", "HiveContext", "display", "displayHTML", "mssparkutils"})

#: The name under which the code below calls the function.
_CALLER = "airflow_call"

#: What makes code of a function that is indented.
_BLOCK = "if True:\n"

#: How the function is called. Nothing but these two names is left in the session.
_CALL = """

def airflow_call(function, arguments, limit):
    import json, sys
    given = json.loads(arguments)
    value = function(*given["args"], **given["kwargs"])
    try:
        text = json.dumps(value)
    except (TypeError, ValueError) as error:
        raise TypeError(function.__name__ + "() returned what is not JSON: " + str(error)) from None
    if len(text) > limit:
        size = str(len(text)) + " characters of JSON, and output_limit is " + str(limit)
        raise ValueError(function.__name__ + "() returned " + size + ": write it to storage, and return its path")
    for stream in (sys.stderr, sys.stdout):
        print("\\n" + {mark!r} + text, file=stream)

airflow_call({name}, {arguments!r}, {limit})
"""


def call_code(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    limit: int,
    *,
    context_keys: Collection[str] = (),
) -> str:
    """
    Return the code that calls a function in a session.

    :param function: the function.
    :param args: its arguments.
    :param kwargs: its arguments by their names.
    :param limit: how many characters the JSON of its result may have.
    :param context_keys: the parameters that Airflow fills in for functions which run on a worker.
    :raises SynapseLivyConfigurationError: if that can't be, with the reason.
    """
    source = _source(function)
    arguments = _arguments(function, args, kwargs, context_keys)
    name = function.__code__.co_name  # which is that of the source, whatever the function is named since
    return source + _CALL.format(name=name, arguments=arguments, limit=int(limit), mark=_MARK)


def result_of(text: str) -> Any:
    """
    Return the result that a function has printed.

    :param text: what was printed.
    :raises ValueError: if there is none.
    """
    for line in reversed(text.splitlines()):
        if line.startswith(_MARK):
            return storable(json.loads(line.removeprefix(_MARK)), storable_number)
    raise ValueError("it has no result")


def printed_by(text: str) -> str:
    """
    Return what a function has printed itself.

    :param text: all that was printed.
    """
    return "\n".join(line for line in text.splitlines() if not line.startswith(_MARK)).strip("\n")


def _refusal(function: Any, problem: str, fix: str, *evidence: str) -> SynapseLivyConfigurationError:
    name = getattr(function, "__name__", type(function).__name__)
    return SynapseLivyConfigurationError(error_message(f"{one_line(f'{name}() {problem}', 115)}.", fix, *evidence))


def _listed(names: Sequence[str]) -> str:
    return one_line(", ".join(names), 50)


def _source(function: Any) -> str:
    """Return the source of a function without decorators and annotations, or raise why it can't run elsewhere."""
    if not inspect.isfunction(function) or function.__code__.co_name == "<lambda>":
        raise _refusal(function, "is no function with a source of its own", "decorate a function made by def.")
    if hasattr(function, "__wrapped__"):
        fix = "put what the other decorator does into the function."
        raise _refusal(function, "is wrapped by another decorator, which stays here", fix)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise _refusal(function, "is asynchronous, or a generator", "return the result from a plain def.")
    try:
        plain = _plain_source(inspect.getsource(function))
        used, at_once = _used_names(plain)
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        fix = "define it by itself in a file."
        raise _refusal(function, "has no source that can be read", fix, f"{type(error).__name__}: {error}") from None
    _check_names(function, used, at_once)
    return plain


def _plain_source(source: str) -> str:
    """Return the source of a function without decorators and annotations; its indentation is text in its strings."""
    if not source[:1].isspace():
        return _without_annotations(source, *ast.parse(source).body)
    (block,) = ast.parse(_BLOCK + source).body
    return _BLOCK + _without_annotations(_BLOCK + source, *cast("ast.If", block).body)


def _without_annotations(source: str, node: Any) -> str:
    """Return the source of a function from the line of its ``def`` on, as it is written, without its annotations."""
    lines = list(io.StringIO(source))
    starts = [0, *accumulate(map(len, lines))]

    def at(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    readline = iter(lines).__next__
    marks = {starts[row - 1] + column: text for _, text, (row, column), *_ in tokenize.generate_tokens(readline)}
    for beginning, end in sorted(_annotations(node, marks, at), reverse=True):
        source = source[:beginning] + source[end:]
    return source[at(node.lineno, 0) :]


def _annotations(node: Any, marks: Mapping[int, str], at: Callable[[int, int], int]) -> Iterator[tuple[int, int]]:
    """Yield where the annotations of a function are, with the colon or the arrow before, and the brackets around."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.arg) and inner.annotation:
            name = at(inner.lineno, inner.col_offset)
            beginning = name + len(marks[name])
            yield beginning, _end(inner.annotation, beginning, marks, at)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.returns:
            returned = at(inner.returns.lineno, inner.returns.col_offset)
            arrow = max(place for place, text in marks.items() if text == "->" and place < returned)
            beginning = 1 + max(place for place, text in marks.items() if text == ")" and place < arrow)
            yield beginning, _end(inner.returns, beginning, marks, at)


def _end(annotation: Any, beginning: int, marks: Mapping[int, str], at: Callable[[int, int], int]) -> int:
    """Return where an annotation ends, with the brackets around it, which begin behind its colon or arrow."""
    start, end = at(annotation.lineno, annotation.col_offset), at(annotation.end_lineno, annotation.end_col_offset)
    opened = sum(beginning <= place < start and text == "(" for place, text in marks.items())
    closed = [place + 1 for place, text in marks.items() if place >= end and text == ")"]
    return closed[opened - 1] if opened else end


class _Unannotated(ast.NodeTransformer):
    """Takes away what Python never looks at: the annotations of what a function's body assigns to."""

    _is_looked_at = False

    def visit(self, node: ast.AST) -> Any:
        """
        Return a node without them; what stands in a class is looked at.

        :param node: the node.
        """
        before = self._is_looked_at
        if isinstance(node, ast.AnnAssign) and not before:
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            self._is_looked_at = isinstance(node, ast.ClassDef)
        visited = self.generic_visit(node)
        self._is_looked_at = before
        return visited


def _used_names(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a function looks up outside of itself, and those of them that its defaults look up."""
    tree = _Unannotated().visit(ast.parse(source))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
    looks = (ast.unparse(tree), f"lambda: [{', '.join(map(ast.unparse, defaults))}]")
    used, at_once = (_names(symtable.symtable(code, "<function>", "exec")) for code in looks)
    return used, at_once


def _check_names(function: Any, used: set[str], at_once: set[str]) -> None:
    """Raise which names of the code around it the function uses: when it runs, or at once, in its defaults."""
    name = function.__code__.co_name
    elsewhere = {*function.__globals__, *dir(builtins), *_OF_THE_SESSION}
    if around := sorted(used.intersection(function.__code__.co_freevars) - {name} | at_once - elsewhere):
        raise _refusal(function, f"uses {_listed(around)} of the function around it", "pass it as an argument.")
    known = {name, "__name__", *_OF_THE_SESSION}
    missing = sorted((used - known).intersection(function.__globals__))
    if missing:
        fix = "import it in the function, or pass it as an argument."
        raise _refusal(function, f"uses {_listed(missing)} of the DAG's file, which stays here", fix)
    if hasattr(builtins, name) or name in _OF_THE_SESSION or name == _CALLER:
        raise _refusal(function, "would take the place of what the session has under that name", "rename it.")


def _names(table: symtable.SymbolTable) -> set[str]:
    """Return the names that code looks up outside of itself."""
    is_module = table.get_type() == "module"
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() or is_module}
    return own.union(*(_names(child) for child in table.get_children()))


def _arguments(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], context_keys: Collection[str]) -> str:
    """Return the arguments as JSON, or raise which of them can't be sent."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise _refusal(function, f"can't be called so: {error}", 'pass what it needs, as in "{{ ds }}".') from None
    for name, value in given.items():
        if not _is_json(_plain(value)):
            problem = f"gets {name} as {type(value).__name__}, which is not JSON all through"
            raise _refusal(function, problem, 'pass text, numbers, lists and dicts, as in "{{ ds }}".')
    _check_context(function, given, context_keys)
    try:
        return json.dumps({"args": _plain(args), "kwargs": _plain(kwargs)})
    except ValueError as error:  # Python reads and writes no integers of more than 4,300 digits
        raise _refusal(function, "gets an integer of too many digits", "pass it as text.", str(error)) from None


def _check_context(function: Any, given: Mapping[str, Any], context_keys: Collection[str]) -> None:
    """Raise which parameters have got nothing that Airflow fills in where functions run on a worker."""
    parameters = inspect.signature(function).parameters.values()
    filled = [each.name for each in parameters if each.name in context_keys or each.kind is each.VAR_KEYWORD]
    if missing := [name for name in filled if name not in given]:
        problem = f"gets no {_listed(missing)}: Airflow's context stays here"
        raise _refusal(function, problem, 'pass what it needs, as in "{{ ds }}", or leave the parameter out.')


def _plain(value: Any) -> Any:
    """Return a value with lists and dicts for what is like them, such as what the runs of a mapped task returned."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}  # Airflow's params have other values in their items()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return list(map(_plain, value))
    return value


def _is_json(value: Any) -> bool:
    """Return whether a value is the same after it was written as JSON and read again."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)
