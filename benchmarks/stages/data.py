"""Where the videos are that the stage decode makes for the stages loaders and both."""

import json
from pathlib import Path


def made_file(data: Path, rehearse: bool) -> Path:
    """Returns the file that says where the forms are, once they are made."""
    return data / ("forms-rehearsal.json" if rehearse else "forms.json")


def found(data: Path, rehearse: bool) -> dict[str, str]:
    """Returns the forms' manifests, if they have been made."""
    path = made_file(data, rehearse)
    paths: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return paths if all(Path(name).exists() for name in paths.values()) else {}
