"""Pickles that run something when they are unpickled the ordinary way."""

import collections
import os
import subprocess
from pathlib import Path

import torch


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function, *args, state=None, items=None):
        self.reduced = (function, args, state, iter(items) if items else None)

    def __reduce__(self):
        return self.reduced


class SetState:
    """Pickles as a class of the tests', whose __setstate__ must not be called."""

    def __setstate__(self, state):
        Path(state["path"]).touch()

    def __getstate__(self):
        return self.__dict__


def payloads(marker):
    """Values that, unpickled the ordinary way, would make the marker file or worse."""
    touch = f"open({str(marker)!r}, 'w')"
    hook = SetState()
    hook.path = str(marker)
    return {
        "system": Calls(os.system, f"touch '{marker}'"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "path": Calls(Path.touch, marker),
        "popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "import": Calls(__import__, "antigravity"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "torch": Calls(torch.save, {"x": 1}, str(marker)),
        "setstate": hook,
        "default": collections.defaultdict(os.getcwd, {"a": Calls(eval, touch)}),
        "nested": {"a": [({"b": Calls(eval, touch)},)]},
        "key": {Calls(eval, touch): 1},
        "attributes": Calls(collections.OrderedDict, state=(None, {"__class__": Calls(eval, touch)})),
        "hooks": Calls(torch._utils._rebuild_parameter, torch.zeros(1), True, {0: Calls(eval, touch)}),
    }
