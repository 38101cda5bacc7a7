"""The fault suite: what may break is broken while 50 clients of every kind watch, and one checker judges all of it.

`checker` judges (pure), `clients` watch, `load` writes, `stack` runs the processes with a proxy between each pair,
`rows/` break things, `runner` does a row from its first event to its verdict, `report` makes the table.
`./dev fault` runs all of them.
"""
