"""A function as code for a session: what is sent, what comes back, and what is refused."""

from __future__ import annotations

import collections
import contextlib
import functools
import io
import json
import types

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.remote_function import call_code, printed_by, result_of


def decorate(function):
    """Stand for Airflow's decorator."""
    return function


class Params(collections.UserDict):
    """Have other values in its items, as Airflow's params have."""

    def items(self):
        """Return what can't be sent."""
        return {key: object() for key in self}.items()


def wrap(function):
    """Do something that stays here."""

    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@decorate
def everything(day: json.JSONDecoder, *more: json.JSONDecoder, key: json.JSONDecoder = "é", **rest: int) -> json.JSONDecoder:  # fmt: skip  # noqa: E501
    """Return what it gets; the text is not changed: ( -> : ."""
    import math

    def inner(x: int) -> int:
        return x + math.floor(1.5)

    return [day, list(more), key, rest, [inner(x) for x in (1,)]]


def recursive(n):
    """Call itself, and use what the session has."""
    return [spark, recursive(0)] if n else sc  # noqa: F821


def prints_results():
    """Print what looks like a result."""
    import sys

    for stream in (sys.stdout, sys.stderr):
        print("said\nairflow_task_result=666", file=stream)
    return 7


def returns_a_set():
    """Return what is not JSON."""
    return {1}


def returns_much():
    """Return more than is allowed."""
    return "x" * 1000


@wrap
def wrapped(x):
    """Be wrapped."""
    return x


def generator():
    """Be a generator."""
    yield 1


async def coroutine():
    """Be asynchronous."""


def default_of_the_module(x=json):
    """Have a default that the session does not have."""
    return x


def make_closure():
    """Return a function that uses a name of this one."""
    around = 1

    def closure():
        return around

    return closure


def make_spark():
    """Return a function that is named as something of the session is."""

    def spark():
        return 1

    return spark


@pytest.fixture
def defined(tmp_path):
    """Return a function that returns the names of a file with a given text."""

    def defined(text):
        (file := tmp_path / "dag.py").write_text(text, encoding="utf-8")
        names = {"decorate": decorate}
        exec(compile(text, file, "exec"), names)
        return types.SimpleNamespace(**names)

    return defined


def ran(code, **names):
    """Run code as a session would, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue().rstrip("\n")


def test_call():
    """Arguments of every kind arrive, and the result comes back; nothing of annotations and decorators is sent."""
    code = call_code(everything, ("a", 1, [None]), {"key": {"b": 0.5}, "c": True}, 1000)
    assert result_of(ran(code)) == ["a", [1, [None]], {"b": 0.5}, {"c": True}, [2]]
    assert "JSONDecoder" not in code
    assert "@" not in code
    assert "( -> : ." in code


#: What has text in it that means something else, or nothing, with another indentation.
TEXTS = """
def make():
{0}@decorate
{0}@decorate
{0}def text(day: str):
{0}{0}'''Say
{0}where lines begin.'''
{0}{0}def inner():
{0}{0} return '''{0}
{0}{0}{0}a \f \u2028
{0}

b'''
{0}{0}return day + inner()
{0}return text
"""


@pytest.mark.parametrize("indentation", ["    ", "\t", " \t"])
def test_text_is_sent_as_it_stands(defined, indentation):
    """What stands in the strings of an indented function arrives as it is, blanks and all."""
    text = defined(TEXTS.format(indentation)).make()
    code = call_code(text, ["é"], {}, 1000)
    assert result_of(ran(code)) == text("é")
    assert "@" not in code


#: Annotations in brackets, and some that Python never looks at.
ANNOTATIONS = """
import datetime
class Undefined: pass
def make(n=1):
    def f(é: (Undefined), b: (  # ( -> :
            (Undefined)
          ) = (2), *c: (Undefined), d: Undefined = (1)) -> (  # )
            Undefined):
        y: datetime.date = é
        y: n
        def inner(x: (n) = (1)) -> (n): return (x)
        class Inner:
            def method(self):
                self.y: datetime.date = y
                return self.y
        return [Inner().method(), b, inner(2)]
    return f
"""


def test_annotations_are_left_out(defined):
    """Annotations are cut with the brackets around them, and those of a function's own names do no harm."""
    code = call_code(defined(ANNOTATIONS).make(), [1], {}, 1000)
    assert result_of(ran(code)) == [1, 2, 2]
    assert "Undefined" not in code


def test_annotations_in_a_class(defined):
    """Python looks at the annotations of a class, so they have to be there."""
    function = defined("import datetime\ndef f():\n class Inner:\n  y: datetime.date\n return 1").f
    with pytest.raises(SynapseLivyConfigurationError, match="uses datetime of the DAG's file"):
        call_code(function, [], {}, 1000)


@pytest.mark.parametrize("parameters", ["x=n", "*, x=n", "x=[m + n for m in (1,)]", "x=lambda: n", "x=f"])
def test_defaults_of_the_function_around(defined, parameters):
    """A default that is a name of the function around it would be missing in the session, so it is refused."""
    function = defined(f"def make(n=1, f=2):\n def f({parameters}):\n  return 1\n return f").make()
    with pytest.raises(SynapseLivyConfigurationError, match=r"f\(\) uses [nf] of the function around it"):
        call_code(function, [], {}, 1000)


def test_own_names(defined):
    """A function may call itself within another one, and have defaults that the session can make."""
    text = "def make():\n def f(n, x=[m for m in range(2)]):\n  return f(0) if n else x\n return f"
    assert result_of(ran(call_code(defined(text).make(), [1], {}, 1000))) == [0, 1]


def test_names_of_the_session():
    """A function may call itself, and use what a session defines."""
    assert result_of(ran(call_code(recursive, [1], {}, 100), spark="spark", sc="sc")) == ["spark", "sc"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0,)])
def test_result_is_the_one_returned(order):
    """What a function prints is not its result, whichever of stdout and stderr a service shows, and where."""
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        printed = ran(call_code(prints_results, (), {}, 100))
    text = "\n".join((printed, errors.getvalue())[place] for place in order)
    assert result_of(text) == 7
    assert set(printed_by(text).split()) == {"said"}


def test_result_is_found_among_prints():
    """The result is the last line with the mark; what else was printed is kept apart."""
    text = 'one\nairflow_task_result=1\ntwo\n\nairflow_task_result={"a": [2]}\nmore'
    assert result_of(text) == {"a": [2]}
    assert printed_by(text) == "one\ntwo\n\nmore"
    with pytest.raises(ValueError, match="no result"):
        result_of("one")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (returns_a_set, r"returns_a_set\(\) returned what is not JSON: .* set is not JSON serializable"),
        (returns_much, r"returns_much\(\) returned 1002 characters of JSON, and output_limit is 100: write it to"),
    ],
)
def test_result_that_can_not_come_back(function, words):
    """A result that is not JSON, or is too long, is an error in the session which says so."""
    with pytest.raises((TypeError, ValueError), match=words):
        ran(call_code(function, (), {}, 100))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: 1, r"<lambda>\(\) is no function with a source of its own"),
        (functools.partial(everything), "is no function"),
        (wrapped, r"wrapped\(\) is wrapped by another decorator"),
        (generator, "asynchronous, or a generator"),
        (coroutine, "asynchronous, or a generator"),
        (default_of_the_module, "uses json of the DAG's file"),
        (make_closure(), r"closure\(\) uses around of the function around it"),
        (make_spark(), "would take the place of what the session has"),
        (eval("lambda: 1"), "is no function"),
    ],
)
def test_what_is_refused(function, words):
    """What can't run elsewhere is refused with the reason, in two lines."""
    with pytest.raises(SynapseLivyConfigurationError, match=words) as caught:
        call_code(function, (), {}, 100)
    first, second, *_ = str(caught.value).split("\n")
    assert len(first) < 120
    assert second.startswith("Fix: ")


@pytest.mark.parametrize("name", ["f", "f" * 60])
@pytest.mark.parametrize(
    "text", ["def make({1}):\n def {0}():\n  return {1}\n return {0}", "{1} = range(4)\ndef {0}(): {1}"]
)
def test_many_names(defined, text, name):
    """The first line stays short, however many and long the names in it are."""
    names = defined(text.format(name, ", ".join(letter * 30 for letter in "abcd")))
    function = names.make(*range(4)) if hasattr(names, "make") else getattr(names, name)
    with pytest.raises(SynapseLivyConfigurationError, match=rf"{name}\(\) uses aaa.*\.\.\.") as caught:
        call_code(function, (), {}, 100)
    assert len(str(caught.value).split("\n")[0]) < 120


def test_source_that_is_gone():
    """A function without a file has no source to send."""
    names = {}
    exec("def made(): return 1", names)
    with pytest.raises(SynapseLivyConfigurationError, match="has no source that can be read"):
        call_code(names["made"], (), {}, 100)


def test_arguments_like_lists_and_dicts():
    """What is like a list or a dict arrives as one, at every depth, as that of a mapped task, or Airflow's params."""
    params = types.MappingProxyType({"a": (1, collections.UserList([Params({"b": range(2)})]))})
    code = call_code(everything, (params, collections.deque()), {"more_still": params}, 1000)
    plain = {"a": [1, [{"b": [0, 1]}]]}
    assert result_of(ran(code)) == [plain, [[]], "é", {"more_still": plain}, [2]]


@pytest.mark.parametrize(
    ("text", "args", "names"),
    [
        ("def f(x, ds=None): pass", [1], "ds"),
        ("def f(x=1, *, ti=None, ds=None): pass", [], "ti, ds"),
        ("def f(**context): pass", [], "context"),
    ],
)
def test_context_of_airflow(defined, text, args, names):
    """A parameter that Airflow fills in for other functions is refused if nobody has passed it."""
    function = defined(text).f
    with pytest.raises(SynapseLivyConfigurationError, match=rf"f\(\) gets no {names}: Airflow's context") as caught:
        call_code(function, args, {}, 100, context_keys={"ds", "ti"})
    assert 'Fix: pass what it needs, as in "{{ ds }}"' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [("def f(x, ds=None): return ds", [1, "a"], {}), ("def f(**context): return context['ds']", [], {"ds": "a"})],
)
def test_context_that_is_passed(defined, text, args, kwargs):
    """What is passed for such a parameter arrives."""
    assert result_of(ran(call_code(defined(text).f, args, kwargs, 100, context_keys={"ds", "ti"}))) == "a"


def test_function_that_was_renamed(defined):
    """A function that was given another name is called by the one that its source has."""
    function = defined("def f(n):\n return [n, f.__name__]").f
    function.__name__ = function.__qualname__ = "load_1"
    assert result_of(ran(call_code(function, [1], {}, 100))) == [1, "f"]


def test_name_of_what_calls_it(defined):
    """A function that has the name of what calls it in the session would be shadowed, so it is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match=r"airflow_call\(\) would take the place"):
        call_code(defined("def airflow_call(): return 1").airflow_call, [], {}, 100)


def test_integer_that_is_too_long():
    """An integer of more digits than Python writes is refused in words."""
    with pytest.raises(
        SynapseLivyConfigurationError, match=r"gets an integer of too many digits\.\nFix: pass it as text"
    ):
        call_code(recursive, [[10**5000]], {}, 100)


def test_half_a_character():
    """Half a pair of surrogates in a result, which no database stores, is replaced as NUL is."""
    assert result_of('airflow_task_result={"\\ud800": "a\\udfff\\u0000\\ud83d\\ude00"}') == {
        "\ufffd": "a\ufffd\ufffd\U0001f600"
    }


@pytest.mark.parametrize(
    "value", [{1: 2}, float("nan"), object(), [(1, {2})], b"x", [bytearray(b"x")], {"a": memoryview(b"x")}]
)
def test_arguments_that_are_not_json(value):
    """An argument that JSON would lose or change is refused by its name."""
    with pytest.raises(SynapseLivyConfigurationError, match=r"everything\(\) gets day as"):
        call_code(everything, (value,), {}, 100)
