"""Which kinds of code there are."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.kinds import validated_kind


@pytest.mark.parametrize("kind", ["pyspark", " PySpark ", "SPARK", "sql", "dotnetspark", "csharp", "sparkr"])
def test_kinds(kind):
    """A kind is sent as Livy spells it, however it was given."""
    assert validated_kind(kind) == kind.strip().lower()


@pytest.mark.parametrize("kind", ["python", "", None, "x" * 1000])
def test_other_kinds(kind):
    """A kind that Livy would answer 500 to is refused, with those that there are."""
    with pytest.raises(
        SynapseLivyConfigurationError, match="is no kind of code.\nFix: use one of pyspark, spark, sql"
    ) as e:
        validated_kind(kind)
    assert len(str(e.value).split("\n")[0]) < 120
