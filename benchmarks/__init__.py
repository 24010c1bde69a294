"""
Benchmarks of this package's trigger beside other designs, in Airflow's own trigger runner.

They use nothing of the package but its trigger, its hook and its sensor, so that they can measure any version of it.
The environment variable below names the folder of another version to measure, such as a git worktree.
"""

import os
import sys

PACKAGE_FOLDER_VARIABLE = "SYNAPSE_LIVY_BENCH_PACKAGE_FOLDER"

if _folder := os.environ.get(PACKAGE_FOLDER_VARIABLE):
    sys.path.insert(0, _folder)
