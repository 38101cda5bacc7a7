"""fanout.errors: whose fault it is."""

import pytest

from fanout import errors


def test_settings_error_is_one_line() -> None:
    """SettingsError says variable, rule and value on one line, or no value."""
    assert str(errors.SettingsError("X", "must be y", "z\n")) == "X: must be y, not 'z\\n'"
    assert str(errors.SettingsError("X", "must be y")) == "X: must be y"


@pytest.mark.parametrize("name", ["SettingsError", "Refusal", "LinkLost", "StageEnded"])
def test_tree(name: str) -> None:
    """Every error is in the tree that the module's docstring prints."""
    assert issubclass(getattr(errors, name), errors.FanoutError)
    assert name in (errors.__doc__ or "")
