"""What is built is what is to be released: archives, program, version, and the site of the documents."""

import importlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import c2d_fast

sys.path.insert(0, str(ROOT / "tools"))
import check_tag
import release_check

BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_sdist(sys.argv[1]), file=sys.stderr)
"""
BUILD_WHEEL = BUILD.replace("sdist", "wheel")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive of a copy of this tree in which things lie about, and the wheel that is made from it; not isolated."""
    pytest.importorskip("setuptools", minversion="70.1")
    folder = tmp_path_factory.mktemp("built")
    source = release_check.copy_source(folder / "source")
    for name in ("data/demo/x.mp4", "runs/a/last.pt", "c2d_fast/__pycache__/x.pyc"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=source, check=True, capture_output=True, timeout=120)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    subprocess.run([sys.executable, "-c", BUILD_WHEEL, folder], cwd=unpacked, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_archives_hold_what_they_must_and_no_more(archives):
    sdist, wheel = archives
    release_check.check(sdist, wheel)
    assert wheel.name == f"c2d_fast-{c2d_fast.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"c2d_fast-{c2d_fast.__version__}.dist-info/METADATA").decode()
    needs = re.findall(r"^Requires-Dist: (\S+?)[><=;\s].*?(?:extra == [\"'](\w+)[\"'])?$", metadata, re.MULTILINE)
    assert {extra for name, extra in needs if name.startswith("onnx")} == {"export"}
    extras = set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE))
    assert {"bench", "check", "docs", "examples", "export", "test"} <= extras


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests/test_x.py", "the wheel holds what does not belong there: tests/test_x.py"),
        ("c2d_fast/__pycache__/x.pyc", "does not belong there: c2d_fast/__pycache__/x.pyc"),
        (None, "the wheel lacks dali_pipes/demo.py"),
    ],
)
def test_a_wrong_wheel_is_told(archives, tmp_path, name, message):
    sdist, wheel = archives
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(other, "w") as after:
        for item in before.namelist():
            if name or item != "dali_pipes/demo.py":
                after.writestr(item, before.read(item))
        if name:
            after.writestr(name, "x")
    with pytest.raises(release_check.CheckError, match=re.escape(message)):
        release_check.check(sdist, other)


def test_packages_below_are_found(tmp_path):
    setuptools = pytest.importorskip("setuptools")
    shutil.copy2(ROOT / "setup.cfg", tmp_path)
    for name in ("c2d_fast", "c2d_fast/training", "dali_pipes", "tests", "benchmarks", "data/c2d_fast"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
    config = (ROOT / "setup.cfg").read_text()
    include = re.search(r"^\[options\.packages\.find\]\ninclude =\n((?:    .*\n)+)", config, re.MULTILINE)[1].split()
    assert "\npackages = find:\n" in config
    assert set(setuptools.find_packages(str(tmp_path), include=include)) == {"c2d_fast", "c2d_fast.training", "dali_pipes"}


def test_every_folder_with_modules_is_a_package():
    for name in release_check.PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_the_version_is_in_one_place(tmp_path):
    assert check_tag.version() == c2d_fast.__version__
    assert "\nversion = attr: c2d_fast.__version__\n" in (ROOT / "setup.cfg").read_text()
    # Who names a version elsewhere must change it with each: CITATION.cff has none, documents pin none.
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text()).get("version", c2d_fast.__version__) == c2d_fast.__version__
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Dockerfile"]:
        named = re.findall(r"c2d[-_]fast(?:==|-| )v?(\d+\.\d+[\w.]*)", path.read_text())
        assert set(named) <= {c2d_fast.__version__}, path
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == c2d_fast.__version__
    assert all(re.fullmatch(r"\d+\.\d+\.\d+\S*", heading) for heading in headings[1:])


def test_a_tag_is_compared_with_version_and_changelog(tmp_path):
    (tmp_path / "c2d_fast").mkdir()
    (tmp_path / "c2d_fast/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3\n\n- x\n\n## 1.2.2\n")
    assert check_tag.problem_of("v1.2.3", tmp_path) == ""
    assert "tag v1.2.4: the version is 1.2.3" in check_tag.problem_of("v1.2.4", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    assert "CHANGELOG.md begins with ['Unreleased']" in check_tag.problem_of("v1.2.3", tmp_path)


class _Tagged(yaml.SafeLoader):
    """Of mkdocs.yml: names of Python's functions are tags."""


_Tagged.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages_of(nav):
    """All pages that a nav names, however deep."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in pages_of(item)]


def test_the_site_names_what_exists():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), _Tagged)
    generated = set(re.findall(r'": "(project/\S+\.md)"', (ROOT / "tools/docs_hooks.py").read_text()))
    assert len(generated) == 5
    for page in pages_of(config.get("nav", [])):
        assert "://" in page or page in generated or (ROOT / "docs" / page).is_file(), page
    for hook in config["hooks"]:
        assert (ROOT / hook).is_file()
    assert config["theme"]["font"] is False
    assert config["site_dir"].startswith("build/")
    (fence,) = config["markdown_extensions"][-1]["pymdownx.superfences"]["custom_fences"]
    assert fence["name"] == "mermaid"


def test_the_api_page_names_what_exists():
    names = re.findall(r"^::: (c2d_fast[\w.]*)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert {"c2d_fast.load_model", "c2d_fast.recipe.Recipe", "c2d_fast.decode.read_clips", "c2d_fast.sampler"} <= set(names)
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert find_spec(name) if name == "c2d_fast.sampler" else hasattr(importlib.import_module(module), attribute), name


def test_the_site_is_built_strictly_and_needs_no_network(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site/api.html").read_text()
    assert 'id="c2d_fast.load_model"' in api
    assert 'href="project/pipe-files.html"' in api
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)\b[^>]*?(?:src|href)=\"?([^\s\">]+)", page.read_text())
        assert not [place for place in loaded if "://" in place], page
        for place in loaded:
            assert page.name == "404.html" or Path(page.parent / place.split("?")[0]).resolve().exists(), (page, place)
