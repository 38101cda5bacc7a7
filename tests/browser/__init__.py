"""The users' React hook in a real Chromium against the real services."""
