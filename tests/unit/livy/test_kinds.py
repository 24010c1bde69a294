"""Which kinds of code there are."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.kinds import livy_kind


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        *((kind, kind.strip().lower()) for kind in ("pyspark", " PySpark ", "SPARK", "sql", "dotnetspark", "csharp")),
        *(("Python", "pyspark"), ("scala", "spark"), ("r", "sparkr")),
        *(("newKind\n", "newKind"),),
    ],
)
def test_kinds(kind, sent):
    """A kind is sent as Livy spells it, however it was given, and one that is not known here as it is."""
    assert livy_kind(kind) == sent


@pytest.mark.parametrize("kind", ["", " ", None, 5, ["x" * 1000]])
def test_no_kinds(kind):
    """What is empty or no text is refused, with the kinds that there are."""
    with pytest.raises(
        SynapseLivyConfigurationError, match="is no kind of code.\nFix: use one of pyspark, spark, sql"
    ) as e:
        livy_kind(kind)
    assert len(str(e.value).split("\n")[0]) < 120
