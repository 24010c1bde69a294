"""What a Spark session is created with."""

from __future__ import annotations

from typing import Any

#: The five sizes that are asked for.
SIZES: dict[str, Any] = {
    "driver_memory": "28g",
    "driver_cores": 4,
    "executor_memory": "28g",
    "executor_cores": 4,
    "num_executors": 2,
}
