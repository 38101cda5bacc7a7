"""A chart of bars, as SVG that follows the reader's colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, LABEL, NAME, ROW, GAP, TOP = 760, 110, 70, 22, 14, 44  # pixels
STYLE = """
    text { font: 14px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
    .small { font-size: 12.5px; fill: #59636e }
    .other { fill: #8c959f }
    .ours { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .small { fill: #9198a1 }
      .other { fill: #6e7681 }
      .ours { fill: #58a6ff }
    }
"""


def drawn(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Bars for {group: {name: value}}; the first of each group is ours."""
    longest = max((value for bars in groups.values() for value in bars.values()), default=1.0)
    room = WIDTH - LABEL - NAME - 70
    parts, y = [f'<text x="12" y="24">{escape(title)}</text>'], TOP
    for group, bars in groups.items():
        parts.append(f'<text x="12" y="{y + 15}">{escape(group)}</text>')
        for number, (name, value) in enumerate(bars.items()):
            wide = max(1.0, value / longest * room)
            kind = "other" if number else "ours"
            parts += [
                f'<text class="small" x="{LABEL}" y="{y + 15}">{escape(name)}</text>',
                f'<rect class="{kind}" x="{LABEL + NAME}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 6}"/>',
                f'<text class="small" x="{LABEL + NAME + wide + 6:.1f}" y="{y + 15}">{value:.1f}</text>',
            ]
            y += ROW
        y += GAP
    told = "; ".join(
        f"{group}: " + ", ".join(f"{name} {value:.1f}" for name, value in bars.items())
        for group, bars in groups.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-labelledby="title desc">\n'
        f'  <title id="title">{escape(title)}</title>\n  <desc id="desc">{escape(told)}</desc>\n'
        f"  <style>{STYLE}  </style>\n  " + "\n  ".join(parts) + "\n</svg>\n"
    )
