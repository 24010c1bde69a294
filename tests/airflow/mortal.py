"""An operator whose process can be killed at each of its steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.airflow.recording import recorded

_NOTES = Path(os.environ["LIFECYCLE_NOTES"])


def mortal(operator: type[Any]) -> type[Any]:
    """
    Return a class of operators that can be killed.

    It is not mixed in, since Airflow 2 takes ``execute`` for an operator's in the classes of operators alone.

    :param operator: the class of operators that can't.
    """

    class MortalOperator(operator):  # type: ignore[misc]
        """Writes down its process and its errors, and can kill its process with -9."""

        #: At which step, the first time that it is taken; at ``failing`` it raises an error instead.
        crash: str | None = None

        def execute(self, context: Any) -> Any:
            """Record the process, and the error."""
            (_NOTES / f"{self.spark_pool_name}.pid").write_text(str(os.getpid()))
            with recorded(self):
                return super().execute(context)

        def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
            """Record the error."""
            self._may_crash("resuming")
            with recorded(self):
                return super().resume_execution(next_method, next_kwargs, context)

        def _set_id(self, record_id: int | None) -> None:
            self._may_crash("answered")
            super()._set_id(record_id)

        def _raise_if_killed(self) -> None:
            self._may_crash("noted")
            super()._raise_if_killed()

        def _poll(self, context: Any, wait: Any) -> Any:
            verdict = super()._poll(context, wait)
            self._may_crash("waiting")
            self._may_crash("failing")
            return verdict

        def _finish(self, *args: Any) -> Any:
            self._may_crash("finishing")
            return super()._finish(*args)

        def _may_crash(self, step: str) -> None:
            crashed = _NOTES / f"{self.spark_pool_name}.crashed"
            if self.crash == step and not crashed.exists():
                crashed.touch()
                if step == "failing":
                    raise RuntimeError("the task fails")
                os.kill(os.getpid(), signal.SIGKILL)

    return MortalOperator
