"""What the structure tests read: the repository's own files, nothing that was built or downloaded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sources(repository: Path) -> list[Path]:
    """Every file of the repository, tracked or about to be, relative to its top; links are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [Path(name) for name in names]
    return [path for path in paths if (repository / path).is_file() and not (repository / path).is_symlink()]
