"""The demo's job: seven steps over the files of a folder, each with figures of what it really did. Reads only."""

import ast
import hashlib
import json
import re
import tarfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
LEFT_OUT = {
    ".git", ".venv", ".venv-harden", ".data", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".hypothesis",
}  # fmt: skip
FILE_BYTES = 2 * 1024 * 1024  # larger files are data, and would make the demo's length a matter of luck
WORD = re.compile(r"[A-Za-z_]{3,40}")


class JobError(Exception):
    """The job found something wrong; the text says what."""


@dataclass
class Job:
    """What one step leaves for the next. `workspace` is where it may write."""

    folder: Path
    workspace: Path
    files: list[Path] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=Counter)
    index: dict[str, set[Path]] = field(default_factory=lambda: defaultdict(set))
    figures: dict[str, Figures] = field(default_factory=dict)

    @property
    def archive(self) -> Path:
        """Where `compress` writes and `verify` reads."""
        return self.workspace / "files.tar.gz"


def scan(job: Job) -> Figures:
    """Find the files and read them."""
    left_out = 0
    for path in sorted(job.folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or LEFT_OUT & set(path.relative_to(job.folder).parts):
            continue
        if path.stat().st_size > FILE_BYTES:
            left_out += 1
            continue
        try:
            content = path.read_bytes()
        except OSError:
            left_out += 1
            continue
        job.files.append(path)
        job.hashes[str(path.relative_to(job.folder))] = hashlib.sha256(content).hexdigest()
        try:
            job.texts[path] = content.decode()
        except UnicodeDecodeError:
            continue
    if not job.files:
        raise JobError(f"{job.folder} has no files to work on")
    suffixes = Counter(path.suffix or path.name for path in job.files)
    return {
        "files": len(job.files),
        "text_files": len(job.texts),
        "left_out": left_out,
        "kinds": suffixes.most_common(5),
    }


def parse(job: Job) -> Figures:
    """Read the Python among them as Python."""
    found: Counter[str] = Counter()
    for path, text in job.texts.items():
        if path.suffix != ".py":
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            found["not_python"] += 1
            continue
        found["modules"] += 1
        for node in ast.walk(tree):
            found["functions"] += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            found["classes"] += isinstance(node, ast.ClassDef)
    return {name: found[name] for name in ("modules", "functions", "classes", "not_python")}


def count(job: Job) -> Figures:
    """Count lines and words."""
    lines = sum(text.count("\n") for text in job.texts.values())
    for text in job.texts.values():
        job.words.update(word.lower() for word in WORD.findall(text))
    return {"lines": lines, "words": job.words.total(), "distinct_words": len(job.words)}


def index(job: Job) -> Figures:
    """Note for each word which files have it."""
    for path, text in job.texts.items():
        for word in {word.lower() for word in WORD.findall(text)}:
            job.index[word].add(path)
    postings = sum(len(paths) for paths in job.index.values())
    everywhere = max(job.index, key=lambda word: len(job.index[word]), default="")
    return {"terms": len(job.index), "postings": postings, "most_widespread": everywhere}


def compress(job: Job) -> Figures:
    """Pack the files into one archive."""
    with tarfile.open(job.archive, "w:gz", compresslevel=6) as archive:
        for path in job.files:
            archive.add(path, str(path.relative_to(job.folder)), recursive=False)
    before = sum(path.stat().st_size for path in job.files)
    after = job.archive.stat().st_size
    return {"bytes_before": before, "bytes_after": after, "ratio": round(after / max(before, 1), 3)}


def verify(job: Job) -> Figures:
    """Unpack the archive again and compare every file's hash with the one it had when it was read."""
    verified = 0
    with tarfile.open(job.archive) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None or hashlib.sha256(content.read()).hexdigest() != job.hashes[member.name]:
                raise JobError(f"{member.name} is not what it was when it was read")
            verified += 1
    if verified != len(job.files):
        raise JobError(f"{verified} of {len(job.files)} files came back")
    return {"files_verified": verified, "algorithm": "sha256"}


def report(job: Job) -> Figures:
    """Write down what was found."""
    path = job.workspace / "report.json"
    largest = sorted(job.files, key=lambda file: -file.stat().st_size)[:3]
    found = {"largest": [str(file.relative_to(job.folder)) for file in largest], "common": job.words.most_common(3)}
    path.write_text(json.dumps({**job.figures, **found}, indent=2))
    return {**found, "report_bytes": path.stat().st_size}


STEPS: tuple[Callable[[Job], Figures], ...] = (scan, parse, count, index, compress, verify, report)
