"""The README's configuration tables, made from the settings. `python -m tests.support.readme` rewrites them."""

from collections.abc import Callable
from pathlib import Path

from fanout.auth_config import DOCUMENTED
from fanout.settings import Settings as FanoutSettings
from orchestrator_api.settings import Settings as ApiSettings

CHECKOUT = Path(__file__).resolve().parents[2]
README = CHECKOUT / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->\n"
HEADS: dict[str, Callable[[], list[tuple[str, str, str]]]] = {
    "orchestrator_api": ApiSettings.documented,
    "fanout": FanoutSettings.documented,
    "both, the same in each": lambda: list(DOCUMENTED),
}


def tables() -> str:
    """Each service's table and that of both, as they stand between the markers."""
    parts = []
    for service, documented in HEADS.items():
        rows = [f"| `{name}` | {_default(default)} | {_cell(meaning)} |" for name, default, meaning in documented()]
        parts.append("\n".join([f"| {service} | default | meaning |", "|---|---|---|", *rows]))
    return "\n" + "\n\n".join(parts) + "\n\n"


def current(text: str) -> str:
    """The README's text with its tables made anew. ValueError when a marker is missing or stands twice."""
    before, rest = _parted(text, BEGIN)
    _, after = _parted(rest, END)
    return before + BEGIN + tables() + END + after


def _parted(text: str, marker: str) -> tuple[str, str]:
    parts = text.split(marker)
    if len(parts) != 2:
        raise ValueError(f"the README must have {marker.strip()} once, on a line of its own")
    return parts[0], parts[1]


def _default(default: str) -> str:
    """A value as code; words as words; nothing as such."""
    if default in ("", "None"):
        return "unset"
    return default if " " in default or default == "required" else f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


if __name__ == "__main__":
    README.write_text(current(README.read_text()))
