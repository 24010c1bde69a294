"""
Which templates the triggerer renders as a worker does, for tasks that start there (Airflow 3.3).

It knows neither the DAG's macros and filters nor all of the context, and an XCom that is pulled without
``map_indexes`` hangs there until the timeout. What is not known to come out the same is left to a worker.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ["can_be_rendered_in_triggerer"]

#: What templates may name.
_KNOWN = frozenset(
    {
        "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date", "macros", "params",
        "run_id", "task_instance", "ti", "ts", "ts_nodash", "ts_nodash_with_tz",
    }
)  # fmt: skip

_TASK_INSTANCE = frozenset({"task_instance", "ti"})


def can_be_rendered_in_triggerer(value: Any) -> bool:
    """
    Tell whether a template field comes out in the triggerer as it does on a worker.

    :param value: the field's value.
    """
    if isinstance(value, str):
        return _is_safe(value)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(can_be_rendered_in_triggerer, value))
    return value is None or isinstance(value, int)


def _is_safe(text: str) -> bool:
    from jinja2 import TemplateError, meta, nodes
    from jinja2.sandbox import SandboxedEnvironment

    try:
        template = SandboxedEnvironment().parse(text)
        names = meta.find_undeclared_variables(template)
    except TemplateError:  # filters of the DAG's own, or a mistake, which a worker tells better
        return False
    uses = Counter(name.name for name in template.find_all(nodes.Name) if name.name in _TASK_INSTANCE)
    pulls = Counter(filter(None, map(_pulled_by_index, template.find_all(nodes.Call))))
    return names <= _KNOWN and uses == pulls


def _pulled_by_index(call: nodes.Call) -> str | None:
    """Give the name of the task instance of an ``xcom_pull`` that names its ``map_indexes``."""
    from jinja2 import nodes

    match call.node:
        case nodes.Getattr(node=nodes.Name(name=name), attr="xcom_pull"):
            given = {keyword.key: keyword.value for keyword in call.kwargs}
            index = given.get("map_indexes")
            return None if index is None or index == nodes.Const(None) else name
    return None
