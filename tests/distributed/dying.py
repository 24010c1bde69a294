"""An operator whose worker dies at the worst moment, and the file it leaves then."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from airflow_provider_synapse_livy.operators.owning import OwningOperator

#: Where a task leaves a file when its worker dies.
DEATHS = Path(os.environ["AIRFLOW_HOME"]) / "deaths"


class Dying(OwningOperator):
    """
    Creates something, and may die between the answer and the first note of it, once in its life.

    :param death: ``process`` kills the process that runs the task, ``worker`` also Celery's process above it, which
        reports its end; ``machine`` stands still until somebody kills the whole worker. Empty for no death.
    """

    def __init__(self, *, death: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.death = death
        self._file = DEATHS / "nobody"

    def execute(self, context: Any) -> dict[str, Any]:
        """Create it."""
        instance = context["ti"]
        self._file = DEATHS / f"{instance.run_id}.{instance.map_index}"
        return super().execute(context)

    def _set_id(self, record_id: int | None) -> None:
        """Die before it is noted that it is there."""
        DEATHS.mkdir(exist_ok=True)
        if self.death and not self._file.exists():
            self._file.write_text(str(record_id))
            if self.death == "machine":
                time.sleep(300)
            if self.death == "worker":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        super()._set_id(record_id)
