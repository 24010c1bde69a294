"""How much of a statement's output goes to XCom."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.outputs import bounded, checked_limit, shortened_text
from tests.support import sample_statements as samples


@pytest.mark.parametrize("limit", [None, "100", "x", -1, 1.5, True])
def test_wrong_limit(limit):
    """A limit that is no number of characters is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match=r"output_limit=.* is not a number of characters\.\nFix: "):
        checked_limit(limit)


@pytest.mark.parametrize(
    ("data", "limit", "kept"),
    [
        ({"text/plain": "12345"}, 5, {"text/plain": "12345"}),
        ({"text/plain": "123456"}, 5, {"text/plain": "12345\n... (1 more characters)"}),
        ({"application/json": [1, 2]}, 6, {"application/json": [1, 2]}),
        ({"application/json": [1, 2, 3]}, 6, {}),
        (
            {"text/plain": "", "image/png": "x" * 10},
            4,
            {"text/plain": "", "image/png": "xxxx\n... (6 more characters)"},
        ),
        ({}, 0, {}),
    ],
)
def test_output_is_bounded(data, limit, kept):
    """Text keeps its beginning and says how much is missing; what can't be cut is left out."""
    record = samples.statement(output={"status": "ok", "data": data})
    fields, is_cut = bounded(record, limit)
    assert fields["output"] == {"status": "ok", "data": kept}
    assert is_cut is (kept != data)
    assert record["output"]["data"] == data


@pytest.mark.parametrize("output", [None, samples.error("E", ""), {"status": "ok", "data": None}])
def test_what_has_no_data(output):
    """An output without data stays as it is."""
    record = samples.statement(output=output)
    assert bounded(record, 1) == (record, False)


def test_error_is_bounded():
    """A long message keeps its beginning, and a long traceback its last lines."""
    output = samples.error("E", "message", "first\n", "second\n", "third\n")
    kept, is_cut = bounded(samples.statement(output=output), 19)
    assert is_cut
    assert kept["output"] == output | {"traceback": ["third\n"]}
    assert bounded(samples.statement(output=output), 3)[0]["output"]["evalue"] == "mes\n... (4 more characters)"


def test_text_that_is_shortened():
    """A text that is too long says how much of it was left out."""
    assert shortened_text("12345", 5) == "12345"
    assert shortened_text("123456", 5) == "12345\n... (1 more characters)"
