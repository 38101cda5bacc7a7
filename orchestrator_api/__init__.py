"""orchestrator_api: receive -> record -> publish.

`receive` takes what a worker reports and refuses, by name, what it cannot keep. `record` stores it: one transaction for
all appends that wait, numbers given under the lock that orders them. `publish` hands the stored frames to Redis, and
names, every second, how far the feeds have come. `history` answers everybody who asks what happened.

What it promises: a 201 means committed; a run's seq and a feed's id read 1..n without a hole, in commit order; nothing
is published before it is stored; a request repeated with its key is stored once; nobody waits for a lock that another
user's events need. docs/protocol.md has the wire.
"""

__version__ = "0.1.0"
