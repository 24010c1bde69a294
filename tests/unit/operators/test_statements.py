"""How much of a statement's output goes to XCom."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.operators.statements import bounded
from tests.support import sample_statements as samples


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


@pytest.mark.parametrize("output", [None, samples.error("E", "e"), {"status": "ok", "data": None}])
def test_what_has_no_data(output):
    """An output without data stays as it is."""
    record = samples.statement(output=output)
    assert bounded(record, 0) == (record, False)
