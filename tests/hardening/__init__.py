"""Attacks that a machine makes up: the part "hardening" of .ci/run.

    python -m tests.hardening.autobahn --fast    the Autobahn|Testsuite's cases against the hub's own protocol class
    python -m tests.hardening.fuzz --seconds 60  hostile bytes for everything that reads a stranger's
    python -m tests.hardening.audit              known faults of what we depend on

`echo` is the process that the cases are run against, `cases` and `peer` are the two halves of the Testsuite's client.
"""
