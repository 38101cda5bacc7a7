"""The commands of ./dev, once `.venv` stands: python -m deploy.local COMMAND [ARGUMENT...]."""

import importlib
import inspect
import sys

from deploy.local.errors import LocalError

COMMANDS = {  # module of this package by command; imported only when called, because demo needs the services' packages
    "run": "run",
    "demo": "demo",
    "test": "check",
    "fault": "fault",
    "bench": "bench",
    "api": "api",
    "psql": "psql",
}


def main(arguments: list[str]) -> int:
    """The command's exit code; 1 and one line for what the user can change."""
    command, *rest = arguments
    module = importlib.import_module(f"deploy.local.{COMMANDS[command]}")
    takes_arguments = bool(inspect.signature(module.main).parameters)
    try:
        if rest and not takes_arguments:
            raise LocalError(f"{command} takes no arguments, and was given {' '.join(rest)}")
        return int(module.main(rest) if takes_arguments else module.main())
    except LocalError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
