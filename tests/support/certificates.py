"""Certificates for servers of tests."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def certificate(directory: Path, name: str) -> None:
    """A self-signed certificate for localhost: `name`.pem and `name`.key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        if os.environ.get("CI") == "true":
            pytest.fail("openssl is not installed, and CI must not skip this")
        pytest.skip("NOT TESTED: openssl is not installed, so TLS was not tried (apt-get install openssl)")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem")]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
