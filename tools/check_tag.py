"""Compares a release's tag with the version, and with the newest release of CHANGELOG.md.

python3 tools/check_tag.py v1.2.3
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version(root: Path = ROOT) -> str:
    """Returns the one place's version, without importing the package: nothing need be installed."""
    return re.findall(r'^__version__ = "(.+)"$', (root / "c2d_fast/__init__.py").read_text(), re.MULTILINE)[0]


def problem_of(tag: str, root: Path = ROOT) -> str:
    """Returns what is wrong with a tag, or nothing."""
    headings = re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if tag != f"v{version(root)}":
        return f"tag {tag}: the version is {version(root)}; tag v{version(root)}, or change __version__ in c2d_fast/__init__.py"
    if headings[:1] != [version(root)]:
        return f"tag {tag}: CHANGELOG.md begins with {headings[:1]}; give its unreleased part the heading {version(root)}"
    return ""


if __name__ == "__main__":
    sys.exit(problem_of(sys.argv[1]) or 0)
