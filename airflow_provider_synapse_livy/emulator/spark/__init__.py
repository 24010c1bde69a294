"""
A real Spark behind the statements of the emulator: ``pyspark`` and ``sql`` run, instead of being answered by scripts.

The first statement of a session starts a child process, the *interpreter*, with a Spark of its own. The two sides talk
in lines of JSON, through the child's standard input and what was its standard output.

- In the emulator's process: ``requirements`` checks that Java and pyspark are there, ``runner`` lets the statements of
  one session run one after the other, ``process`` starts, talks to and ends the child.
- In the child: ``interpreter`` reads requests and writes events, ``local_spark`` starts Spark, watches, counts and
  cancels its jobs, ``python_code`` runs Python as Livy does, and ``outputs`` turns values into what Livy answers.
"""
