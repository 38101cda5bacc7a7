"""What a watching client decides, without I/O: the same files, names and behaviour as clients/js/src has.

tests/contract/client.json says step by step what both must do. Times are arguments, in milliseconds, and so is chance.
"""
