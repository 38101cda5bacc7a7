"""What tests share.

`eventually` waits; `servers` are servers that a test may stop, kill and freeze; `databases` makes and drops databases;
`processes` starts the Procfile's commands and `./dev run`; `raw` speaks to a socket byte by byte.
"""

from tests.support.waiting import eventually, eventually_sync

__all__ = ["eventually", "eventually_sync"]
