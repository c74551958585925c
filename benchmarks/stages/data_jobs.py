"""Makes the videos that the stages loaders and both read: as downloaded, and all-intra."""

from argparse import Namespace
from pathlib import Path

from result_file import write_result
from stored import make_forms

from stages.data import made_file


def make(data: Path, rehearse: bool) -> dict[str, str]:
    """Makes the forms, or finds them made; returns and writes down where their manifests are.

    In a rehearsal they are VP9, which DALI decodes without a GPU, with many key frames or with nothing else.
    """
    what = Namespace(list=None, data_root=None, data=data, codec="h264", size=(340, 256), gop=250, frames=300, count=64)
    if rehearse:
        small = vars(what) | {"codec": "vp9", "size": (160, 128), "frames": 60, "count": 4}
        made = {"stored": make_forms(Namespace(**small), ["stored"])[0]}
        made["intra"] = make_forms(Namespace(**small | {"gop": 1}), ["stored"])[0]
    else:
        made = {form.name: form for form in make_forms(what, ["stored", "intra"])}
    paths = {name: str(form.path) for name, form in made.items()}
    write_result(made_file(data, rehearse), paths)
    return paths
