"""JSON that Airflow and PostgreSQL can hold."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.strict_json import BYTE_ORDER_MARK, is_truncated, read_json, storable

NUL, REPLACEMENT = "\x00", "\ufffd"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, -2.5, true, null, "\xc3\xbc"]}', {"a": [1, -2.5, True, None, "ü"]}),
        (BYTE_ORDER_MARK + b'{"a": 1}', {"a": 1}),
        (b' \n {"a": 1} \r\n', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_what_is_read(text, value):
    """JSON text is read with or without a byte order mark; of a name that stands twice, the last value counts."""
    assert read_json(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"a\\u0000b"', f"a{REPLACEMENT}b"),
        (b'{"a\\u0000": ["\\u0000"]}', {f"a{REPLACEMENT}": [REPLACEMENT]}),
        (b'"a\\\\u0000b"', r"a\u0000b"),
        (b'"\\\\\\u0000"', f"\\{REPLACEMENT}"),
    ],
)
def test_nul(text, value):
    """Each NUL becomes U+FFFD, in names as well; a backslash followed by u0000 is text, and stays as it was."""
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"idle",
        b"{'a': 1}",
        b'{"a": 1',
        b'{"a": 1} 2',
        b"NaN",
        b'{"a": NaN}',
        b"Infinity",
        b'{"a": -Infinity}',
        b"1e999",
        b'[{"a": 1e999}]',
        b"9223372036854775808",
        b"-9223372036854775809",
        b'{"a": [18446744073709551616]}',
        b"9" * 100_000,
        b'"\xff"',
        b'"\\ud800"',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 300 + b"]" * 300,
        b"[" * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_refused(text):
    """What is not JSON, is nested too deep, or holds a number that can't be stored raises ValueError, nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011  (its kind is the rule)
        read_json(text)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 2**63, [2**64], {"a": {"b": -(2**64)}}])
def test_numbers_that_cannot_be_stored(value):
    """A dict with a number that a database or Airflow can't hold is refused as JSON text is."""
    with pytest.raises(ValueError, match="it holds"):
        storable(value)


def test_storable_values_stay_as_they_are():
    """A value without NULs and odd numbers is the same afterwards, booleans included."""
    value = {"a": [1, 2.5, True, False, None, "text", {"b": -(2**63)}]}
    assert storable(value) == value
    assert storable(True) is True


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"  ",
        b"{",
        b'{"a',
        b'{"a": ',
        b'{"a": "b',
        b'{"a": "b\\',
        b'{"a": "\\u00',
        b'{"a": "\\ud83d',
        b'{"a": "\xc3',
        b'{"a": tr',
        b'{"a": -',
        b'{"a": 1.',
        b'{"a": [1, {"b": 2}',
        BYTE_ORDER_MARK,
        BYTE_ORDER_MARK + b'{"a',
    ],
)
def test_truncated_text(text):
    """The beginning of an object, or nothing at all, is told apart from text that is wrong however it goes on."""
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(text)
    assert is_truncated(text)


@pytest.mark.parametrize(
    "text",
    [
        b"idle",
        b"503 Service Unavailable",
        b"<html>",
        b'{"a": NaN, "b',
        b"{a",
        b'{"a": 1}',
        b"[1,",
        b'"a',
    ],
)
def test_text_that_is_not_truncated(text):
    """Text that is whole, is wrong in itself, or does not begin an object is not truncated."""
    assert not is_truncated(text)
