"""Runfeed for Python: report what happens in a run.

    from runfeed import RunReporter

    with RunReporter(username="alice", workflow="training") as run:
        run.started(total_steps=2)
        run.step(1, "load", "completed", duration=0.4)

The reporter needs the standard library alone, in Python 3.9 and later.
"""

from .reporter import RunReporter

__version__ = "0.1.0"
__all__ = ["RunReporter", "__version__"]
