"""The one error of ./dev: something that its user can change."""


class LocalError(Exception):
    """Its text is one line that names what is wrong and what to change; ./dev prints it and exits with 1."""
