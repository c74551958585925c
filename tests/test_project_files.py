"""What no command reads: workflows, templates, citation, container."""

import json
import re

import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [ROOT / ".github/ISSUE_TEMPLATE" / name for name in ("bug.yml", "feature.yml")]


def load(path):
    return yaml.safe_load(path.read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflows_are_whole_and_pin_their_actions():
    assert [path.name for path in WORKFLOWS] == ["release.yml", "tests.yml"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in WORKFLOWS:
        workflow = load(path)
        assert {"name", True, "permissions", "jobs"} <= workflow.keys()  # YAML 1.1 reads `on` as true
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert {"runs-on", "timeout-minutes", "steps"} <= job.keys(), name
            assert {job["needs"]} <= workflow["jobs"].keys() if "needs" in job else True
        for step in steps(workflow):
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", step["uses"])
            else:
                assert set(re.findall(r"\bmake ([\w-]+)", step["run"])) <= set(targets)
                assert all((ROOT / file).is_file() for file in re.findall(r"python (\S+\.py)", step["run"]))
                assert "${{ github.event" not in step["run"]  # what strangers write must not become a command


def test_tests_run_what_a_submission_must_pass():
    workflow = load(ROOT / ".github/workflows/tests.yml")
    assert workflow[True].keys() == {"push", "pull_request"}
    runs = [step["run"] for step in steps(workflow) if "run" in step]
    assert any(run.startswith("make test ") for run in runs)
    assert "exec make test" in (ROOT / ".ci/run").read_text()


def test_a_release_is_checked_and_published_without_a_stored_secret():
    workflow = load(ROOT / ".github/workflows/release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert any("make release-check" in step.get("run", "") for step in build["steps"])
    assert "permissions" not in build  # only the job that publishes may ask for an identity
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"] == "pypi"
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
    (upload,) = [step["with"]["path"] for step in build["steps"] if "upload-artifact" in step.get("uses", "")]
    assert upload.rstrip("/") == "build/release"


def test_issue_forms_ask_for_what_is_needed():
    for path in FORMS:
        form = load(path)
        assert {"name", "description", "body"} <= form.keys()
        fields = [item for item in form["body"] if item["type"] != "markdown"]
        assert all(item["attributes"]["label"] for item in fields)
        assert len({item["id"] for item in fields}) == len(fields)
        assert any(item.get("validations", {}).get("required") for item in fields)
    (info,) = [item for item in load(FORMS[0])["body"] if item.get("id") == "info"]
    assert "python -m c2d_fast.info" in info["attributes"]["label"]
    assert info["validations"]["required"]
    assert "make test" in (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text()


def test_the_citation_is_one():
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors", "abstract"))
    assert citation["type"] == "software"
    setup = (ROOT / "setup.cfg").read_text()
    assert f"\nname = {citation['title']}\n" in setup
    assert f"\nlicense = {citation['license']}\n" in setup
    assert f"\ndescription = {citation['abstract']}\n" in setup
    for author in [*citation["authors"], *(author for paper in citation["references"] for author in paper["authors"])]:
        assert author.keys() in ({"name"}, {"family-names", "given-names"})


def instructions():
    """The Dockerfile's, continued lines joined, comments taken off: (stage, word, rest)."""
    stage, found = "", []
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        found.append((stage, word, rest.strip()))
    return found


def test_the_container_has_its_base_by_argument_and_a_user_without_rights():
    lines = instructions()
    assert lines[0] == ("", "ARG", "BASE=python:3.11-slim-bookworm")
    assert [rest for _, word, rest in lines if word == "FROM"] == ["${BASE} AS base", "base AS dev", "base AS trainer"]
    for stage in ("dev", "trainer"):
        words = [word for place, word, _ in lines if place == stage]
        assert [rest for place, word, rest in lines if (place, word) == (stage, "USER")] == ["c2d"]
        assert "RUN" not in words[words.index("USER") :]
    assert ("trainer", "ENTRYPOINT", '["c2d-fast"]') in lines
    assert {word for _, word, _ in lines} <= {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert "but not been built" in (ROOT / "Dockerfile").read_text()  # to be taken out by who has built it


def test_the_container_copies_code_and_no_data():
    copied = [name for _, word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]]
    assert {"c2d_fast", "dali_pipes"} < set(copied)
    assert not {".", "data", "runs", "tests"} & set(copied)
    assert all((ROOT / name).exists() for name in copied)
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    manifest = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"}  # without which the package does not build
    assert manifest <= set(copied)


def test_the_development_container_uses_the_same_file():
    folder = ROOT / ".devcontainer"
    settings = json.loads((folder / "devcontainer.json").read_text())
    assert (folder / settings["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / settings["build"]["context"]).resolve() == ROOT
    assert f" AS {settings['build']['target']}\n" in (ROOT / "Dockerfile").read_text()
    assert ("dev", "USER", settings["remoteUser"]) in instructions()
    target = settings["postCreateCommand"].removeprefix("make ")
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()
