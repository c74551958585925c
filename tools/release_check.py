"""Builds the package as it would be released, looks into it, installs it anew elsewhere, and trains the demo with that.

    python3 tools/release_check.py

What it builds stays in build/release; all else goes into a temporary folder, which is removed. It installs PyTorch and DALI
once more, which takes several GB of disk and, without pip's cache, of network.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 3600.0
"""For the longest command: an installation of torch and DALI over a slow line."""
OUT = ROOT / "build" / "release"
PACKAGES = ("c2d_fast", "dali_pipes")
NOT_COPIED = (".*", "build", "dist", "data", "runs", "shared", "*.egg-info", "__pycache__")
LARGEST = 5_000_000  # bytes of a wheel: it holds code, and nothing that is data


class CheckError(Exception):
    """The package is not fit to be released."""


def main() -> None:
    """Runs all steps; the first that fails ends it with exit code 1."""
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="c2d-fast-release-") as folder:
            shutil.rmtree(OUT, ignore_errors=True)
            sdist, wheel = build(Path(folder))
            check(sdist, wheel)
            try_out(wheel, Path(folder))
    except CheckError as error:
        sys.exit(f"release check: {error}")
    print(f"release check: {sdist.name} and {wheel.name} are fit, {time.monotonic() - begun:.0f} s; they are in {OUT}")


def copy_source(place: Path) -> Path:
    """Copies the tree without what was built, recorded or downloaded in it: setuptools takes up what earlier builds left."""
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*NOT_COPIED))
    return place


def build(folder: Path) -> tuple[Path, Path]:
    """Returns the source archive, and the wheel that is made from it."""
    python = new_environment(folder / "tools", ["build", "twine"])
    source = copy_source(folder / "source")
    run("building", [python, "-m", "build", "--outdir", OUT, source], folder)
    (sdist,), (wheel,) = OUT.glob("*.tar.gz"), OUT.glob("*.whl")
    run("metadata", [python, "-m", "twine", "check", "--strict", sdist, wheel], folder)
    return sdist, wheel


def check(sdist: Path, wheel: Path, root: Path = ROOT) -> None:
    """Looks into both archives.

    Raises:
        CheckError: something is missing, or does not belong there.
    """
    modules = {str(path.relative_to(root)) for name in PACKAGES for path in (root / name).rglob("*.py")}
    needed = modules | {"c2d_fast/py.typed", "dali_pipes/README.md"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    compare("the wheel", names, needed | {f"{info}/METADATA", f"{info}/licenses/LICENSE"}, (*PACKAGES, info))
    if "c2d-fast = c2d_fast.program:start" not in scripts:
        raise CheckError("the wheel has no program c2d-fast; see console_scripts in setup.cfg")
    if wheel.stat().st_size > LARGEST:
        raise CheckError(f"the wheel has {wheel.stat().st_size:,} bytes, {LARGEST:,} are allowed: look for data in it")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    files = {"setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "PKG-INFO"}
    compare("the source archive", names, needed | files, (*PACKAGES, *files, "c2d_fast.egg-info"))


def compare(what: str, names: set[str], needed: set[str], allowed: tuple[str, ...]) -> None:
    """Compares an archive's names with those that it must have, and their first parts with those that it may have."""
    if missing := sorted(needed - names):
        raise CheckError(f"{what} lacks {', '.join(missing)}")
    if more := sorted(name for name in names if name.split("/")[0] not in allowed or "__pycache__" in name):
        raise CheckError(f"{what} holds what does not belong there: {', '.join(more[:10])}")


def try_out(wheel: Path, folder: Path) -> None:
    """Installs the wheel alone, and uses it in a folder where nothing of the repository is.

    Raises:
        CheckError: a command does something else than it should.
    """
    python, place = new_environment(folder / "installed", [str(wheel)]), folder / "elsewhere"
    place.mkdir()
    module, program, best = [python, "-m"], [python.with_name("c2d-fast")], "runs/one/best.pt"
    code = "import c2d_fast, dali_pipes; print(c2d_fast.__file__, dali_pipes.__file__)"
    where = use("import", [python, "-c", code], place)
    if any(folder / "installed" not in Path(file).parents for file in where.split()):
        raise CheckError(f"another c2d_fast than the installed one is imported: {where}")
    use("demo data", [*module, "c2d_fast.prepare", "demo", "--out", "data/demo"], place)
    use("training", [*module, "c2d_fast.train", "--pipe", "demo", "--epochs", "1", "--out", "runs/one"], place)
    use("scoring", [*module, "c2d_fast.test", "--pipe", "demo", "--checkpoint", best, "--views", "1x1"], place)
    use("resuming", [*program, "train", "--pipe", "demo", "--epochs", "2", "--out", "runs/one", "--resume", "auto"], place)
    use("safetensors", [*program, "export", "--checkpoint", best, "--to", "safetensors"], place)
    use("completion", [*program, "completion", "bash"], place)
    refused = use("ONNX without its packages", [*program, "export", "--checkpoint", best, "--to", "onnx"], place, code=2)
    if refused.count("\n") != 1 or not refused.endswith("pip install 'c2d-fast[export]'\n"):
        raise CheckError(f"export to ONNX does not say in one line what to install: {refused}")


def new_environment(place: Path, packages: list[str]) -> Path:
    """Makes a virtual environment with packages, and returns its interpreter."""
    run(f"environment {place.name}", [sys.executable, "-m", "venv", place], place.parent)
    python = place / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(f"installing {', '.join(Path(name).name for name in packages)}", [*pip, *packages], place.parent)
    return python


def use(what: str, words: list[str | Path], place: Path, *, code: int = 0) -> str:
    """Runs a command of the installed package; what it prints on stderr where it fails as it should, or else on stdout.

    Raises:
        CheckError: it ends with another exit code, or does well and prints something on stderr all the same.
    """
    done = run(what, words, place, code=code, XDG_CACHE_HOME=str(place / "cache"))
    if code == 0 and done.stderr:
        raise CheckError(f"{what}: printed on stderr: {done.stderr}")
    return done.stderr if code else done.stdout


def run(what: str, words: list[str | Path], place: Path, *, code: int = 0, **more: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command that has no way to the repository.

    Args:
        what: is said of it.
        words: of the command.
        place: folder in which it runs.
        code: exit code that it must have.
        more: environment variables.

    Raises:
        CheckError: it has another.
    """
    begun, command = time.monotonic(), list(map(str, words))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))} | more
    pipes: dict = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    try:
        done = subprocess.run(command, cwd=place, env=env, check=False, timeout=LIMIT_S, **pipes)
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"{what}: took longer than {LIMIT_S:.0f} s, and was ended") from error
    if done.returncode != code:
        text = f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        raise CheckError(f"{what}: ended with exit code {done.returncode} in place of {code}: {text}")
    print(f"{time.monotonic() - begun:7.1f} s  {what}", flush=True)
    return done


if __name__ == "__main__":
    main()
