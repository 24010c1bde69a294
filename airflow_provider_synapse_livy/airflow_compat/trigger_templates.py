"""
Which templates the triggerer renders as a worker does, for tasks that start there (Airflow 3.3).

The triggerer has neither the DAG's own macros and filters nor all of the context, and an ``xcom_pull`` without
``map_indexes`` hangs there until the timeout. So templates are allowed, not forbidden: the task starts on a worker
unless every part of them is known to render the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ["can_be_rendered_in_triggerer"]

#: The names that templates may use.
_KNOWN_NAMES = frozenset(
    {
        "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date", "macros", "params",
        "run_id", "task_instance", "ti", "ts", "ts_nodash", "ts_nodash_with_tz",
    }
)  # fmt: skip

_TASK_INSTANCE_NAMES = ("task_instance", "ti")


def can_be_rendered_in_triggerer(value: Any) -> bool:
    """
    Return whether a template field renders in the triggerer as it does on a worker.

    :param value: the field's value.
    """
    if isinstance(value, str):
        return _is_safe(value)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(can_be_rendered_in_triggerer, value))
    return value is None or isinstance(value, int)


def _is_safe(text: str) -> bool:
    from jinja2 import TemplateError, meta
    from jinja2.sandbox import SandboxedEnvironment

    try:
        template = SandboxedEnvironment().parse(text)
        names = meta.find_undeclared_variables(template)
    except TemplateError:  # a filter of the DAG's own, or a mistake, which a worker reports better
        return False
    return names <= _KNOWN_NAMES and all(_is_indexed_pull(use) for use in _uses_of_task_instance(template))


def _uses_of_task_instance(node: nodes.Node, path: tuple[nodes.Node, ...] = ()) -> list[tuple[nodes.Node, ...]]:
    """Return each use of the task instance as the nodes that it stands in, the innermost first."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name) and node.name in _TASK_INSTANCE_NAMES:
        return [path]
    return [use for child in node.iter_child_nodes() for use in _uses_of_task_instance(child, (node, *path))]


def _is_indexed_pull(use: tuple[nodes.Node, ...]) -> bool:
    """Return whether a use of the task instance is a call of ``xcom_pull`` with ``map_indexes``."""
    from jinja2 import nodes

    match use:
        case (nodes.Getattr(attr="xcom_pull") as method, nodes.Call(node=called) as call, *_) if called is method:
            map_indexes = {keyword.key: keyword.value for keyword in call.kwargs}.get("map_indexes")
            return map_indexes not in (None, nodes.Const(None))
    return False
