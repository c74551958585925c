"""What the documents say is what the code does."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from c2d_fast.prepare.transcode import DEFAULT_GOP
from c2d_fast.recipe import load_pipe, shipped_pipes

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("dali_pipes/*"), *ROOT.glob("examples/*")]
PAGES = [path for path in DOCUMENTS if path.suffix == ".md"]


def commands():
    """Every `python -m c2d_fast.NAME ...`, and torchrun's, in the documents and the pipe files, continued lines joined."""
    for path in DOCUMENTS:
        if path.is_file():
            text = path.read_text().replace("\\\n", " ")
            for name, rest in re.findall(r" -m c2d_fast\.(\w+)( [^`\n]*--[^`\n]*)", text):
                yield pytest.param(name, rest.rstrip("'"), id=f"{path.name}-{name}")


@pytest.mark.parametrize(("name", "rest"), list(commands()))
def test_commands_parse_and_name_files_that_exist(name, rest):
    args = importlib.import_module(f"c2d_fast.{name}").parse(shlex.split(rest.partition(" > ")[0], comments=True))
    # tennis.py is what the worked example of docs/custom-data.md writes; test_finetuning.py runs it. mine.py is what info --set
    # prints (docs/recipes.md); test_docs_commands.py runs it.
    assert getattr(args, "pipe", None) in (None, "tennis.py", "mine.py", *shipped_pipes()) or (ROOT / args.pipe).is_file()


def test_the_readme_is_short_and_its_first_screen_has_what_a_hurried_reader_needs():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:50])
    for part in (
        "![Clips per second",
        "\nmake demo ",
        "\nmake test ",
        "| recipe | backbone |",
        "| loader, clips/s |",
        "## Where to go",
    ):
        assert part in first
    assert len(re.findall(r"^\| \[`k400_", first, re.MULTILINE)) == 4
    (where,) = re.findall(r"## Where to go\n(.*?)\n## ", "\n".join(lines), re.DOTALL)
    for page in ("kinetics", "custom-data", "several-gpus", "resuming", "faq", "index"):
        assert f"(docs/{page}.md)" in where


def test_the_index_has_every_page():
    listed = set(re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs/index.md").read_text()))
    assert listed == {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}


def test_the_table_is_that_of_the_recipes():
    rows = re.findall(r"^\| \[`(\w+\.py)`\]\((\S+)\) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == 4
    for name, link, cells in rows:
        assert link == f"dali_pipes/{name}"
        recipe = load_pipe(ROOT / link).recipe
        published, model, clip = recipe.published, recipe.model, recipe.clip
        expected = [
            f"ResNet-{model.depth}",
            f"{clip.num_frames} x {clip.interval}",
            "yes" if model.temporal_pool else "no",
            f"{published.top1:.2f}",
            f"{published.top5:.2f}",
            f"{published.gmac_per_clip:.2f}",
            f"{published.parameters / 1e6:.1f} M",
        ]
        assert cells.split(" | ") == expected


def test_the_measured_precision_is_what_the_benchmark_wrote():
    result = json.loads((ROOT / "benchmarks/results/precision-cpu.json").read_text())
    means, text = result["mean_top1"], " ".join((ROOT / "docs/fidelity.md").read_text().split())
    assert f"mean top-1 {means['fp32']:.1f} % in fp32, {means['bf16']:.1f} % in bf16, measured **on a CPU**" in text
    assert f"three seeds, {result['videos']['val']} validation videos" in text
    assert len(result["runs"]) == 6
    assert result["machine"]["gpu"] is None
    assert abs(result["difference_points"]) <= 2


def result(name):
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())


def test_the_tables_of_forms_are_what_the_benchmark_wrote(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("forms").table
    text = (ROOT / "docs/forms.md").read_text()
    for name in ("forms-real-clips-cpu", "forms-generated-cpu"):
        assert "\n".join(table(result(name))) in text
    forms = result("forms-real-clips-cpu")["forms"]
    fastest = max(forms, key=lambda name: forms[name]["clips_per_s"])
    assert forms[fastest]["flags"] == ["--gop", str(DEFAULT_GOP)], "the default is what the measurement says"
    speedup = forms[fastest]["clips_per_s"] / forms["as downloaded"]["clips_per_s"]
    assert f"{speedup:.1f} times" in " ".join(text.split())


def test_the_measured_accuracy_of_transcoded_data_is_what_the_benchmark_wrote():
    measured, text = result("transcoded-cpu"), " ".join((ROOT / "docs/forms.md").read_text().split())
    means = measured["mean_top1"]
    assert f"{means['as made']:.1f} % from the videos as they are made and {means['transcoded']:.1f} % from" in text
    assert means["transcoded"] > means["as made"] - 3


def test_the_measured_speed_of_scan_and_start_is_what_the_benchmarks_wrote():
    text = " ".join((ROOT / "docs/prepare.md").read_text().split())
    scan, start = result("scan-cpu"), result("manifest-start")
    assert f"{scan['scan_to_ffmpeg']:.2f} times the frames per second" in text
    assert scan["scan_to_ffmpeg"] >= 0.9
    assert start["videos"] == 240_000
    assert f"is read in {start['median']['read_s']:.1f} s" in text
    assert f"{start['median']['train_start_s']:.1f} s after the command, {start['median']['train_start_mb']:.0f} MB" in text
    small = f"({start['median']['train_start_of_64_videos_s']:.1f} s, {start['median']['train_start_of_64_videos_mb']:.0f} MB"
    assert small in text


def test_the_table_of_several_clips_is_what_the_benchmark_wrote(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("several_clips")
    text, measured = (ROOT / "docs/loader.md").read_text(), json.loads(module.RESULT.read_text())
    assert f"<!-- repeated-augmentation: begin -->\n{module.table(measured)}\n<!-- repeated-augmentation: end -->" in text
    assert [row["clips_per_decode"] for row in measured["rows"]] == [1, 2, 4] * 2
    assert len(measured["rows"][0]["rounds"]) >= 5
    by_form = {(row["form"], row["clips_per_decode"]): row["times_one_clip"] for row in measured["rows"]}
    assert by_form["stored", 4] > 1.5, "files as downloaded gain"
    assert 0.8 < by_form["intra", 4] < 1, "all-intra files lose a little"


def test_the_loader_costs_nothing_beside_the_one_before():
    assert result("clip-loader-against-cpu")["ratio"]["median"] > 0.98


def test_the_tables_of_throughput_are_what_the_benchmark_wrote(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    report = importlib.import_module("report")
    shown = set()
    for document in report.DOCUMENTS:
        text = document.read_text()
        for path in (ROOT / "benchmarks/results").glob("throughput-*.json"):
            measured, name = json.loads(path.read_text()), path.stem.removeprefix("throughput-")
            assert report.with_tables(text, name, measured) == text
            for marks, table in report.marked_tables(name, measured).items():
                if f"<!-- throughput-{marks}: begin -->" in text:
                    assert table
                    assert table in text
                    shown.add((document.name, marks))
    assert shown == {("README.md", "cpu"), *(("benchmarks.md", marks) for marks in ("cpu-all", "real-all", "cpu-recipes"))}
    assert result("throughput-cpu")["machine"]["gpu"] is None


def test_the_machine_beside_the_tables_is_that_of_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    report = importlib.import_module("report")
    for name in ("throughput-cpu", "throughput-real"):
        measured = result(name)
        line = report.measured_on(measured)
        machine = measured["machine"]
        assert line.startswith(f"Measured on {measured['date']} on {machine['cpu']}, {machine['cpus']} CPUs, with Python ")
        assert {"PyTorch", "DALI", "PyAV", "OpenCV", "decord", "torchcodec", "SPDL"} <= set(re.findall(r" (\w+) \d", line))
        assert line in (ROOT / "docs/benchmarks.md").read_text()
    assert report.measured_on(result("throughput-cpu")) in (ROOT / "README.md").read_text()


def test_every_loader_says_what_is_prepared_for_it_and_a_faster_peer_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    in_words, tables = (importlib.import_module(name) for name in ("in_words", "tables"))
    for name in ("throughput-cpu", "throughput-real"):
        rows = result(name)["loaders"]
        assert {row["index"] for row in rows if row["name"] in tables.OUR_MAIN} == {"manifest (facts)", "packet table"}
        text = in_words.in_words(result(name))
        for ours in (row for row in rows if row["name"] in tables.OUR_MAIN):
            is_without = ours["index"] in tables.WITHOUT_INDEX
            for peer in (row for row in rows if not row["ours"] and row["form"] == ours["form"] and "clips_per_s" in row):
                if peer["clips_per_s"] > ours["clips_per_s"] and (peer["index"] in tables.WITHOUT_INDEX) == is_without:
                    assert f"{in_words.short(peer)} ({peer['clips_per_s'] / ours['clips_per_s']:.2f} times its clips" in text


def test_the_measured_memory_is_what_the_benchmark_wrote():
    docs = " ".join((ROOT / "docs/benchmarks.md").read_text().split())
    memory = {name: result(f"memory-{name}") for name in ("ffmpeg", "dali")}
    for name, measured in memory.items():
        assert f"{measured['slope_kb_per_1000_clips']:+.1f} kB per 1,000 clips with `{name}`" in docs
        assert abs(measured["slope_kb_per_1000_clips"]) < 100
        assert max(measured["open_files"]) - min(measured["open_files"]) <= 4


def test_the_measured_feed_is_what_the_benchmark_wrote():
    rows = {row["form"]: row for row in result("feed-cpu")["rows"]}
    decision = " ".join((ROOT / "docs/decisions/0012-small-files-of-our-own.md").read_text().split())
    before, now = ({form: row["clips_per_s"][name] for form, row in rows.items()} for name in ("before", "now"))
    assert f"{before['stored']:.0f} -> {now['stored']:,.0f} clips/s as downloaded" in decision
    assert f"{before['intra']:.0f} -> {now['intra']:,.0f} all-intra" in decision
    assert all(row["ratio"] > 2.5 and row["same_frames"] >= 8 for row in rows.values())
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"{rows['stored']['ratio']:.1f} to {rows['intra']['ratio']:.1f} times as fast" in changes
    source = " ".join((ROOT / "docs/decisions/0001-one-source-for-three-decoders.md").read_text().split())
    assert f"{now['stored']:,.0f} clips/s of files as downloaded and {now['intra']:,.0f} of all-intra" in source


def test_the_measured_crops_are_what_the_benchmark_wrote():
    text = (ROOT / "docs/benchmarks.md").read_text()
    sizes = result("crops-cpu")["sizes"]
    for name, size in sizes.items():
        costs = " | ".join(f"{size['ms_per_clip'][way]:.1f}" for way in ("one_step", "two_steps"))
        differences = f"{size['mean_difference']:.1f} | {size['worst_box_difference']:.1f} | {size['sharpness_ratio']:.2f}"
        assert f"| {name} | {costs} | {differences} |\n" in text
    assert list(sizes) == ["340x256", "568x320", "1280x720", "1920x1080"]
    assert sizes["340x256"]["worst_box_difference"] == 0


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in PAGES for name in re.findall(r"^(?:.*`)?make ([a-z-]+)", path.read_text(), re.MULTILINE)}
    assert named
    assert named <= targets


def anchors(path):
    """The anchors that GitHub gives headings: in lower case, without punctuation, hyphens for spaces, numbered if repeated."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    slugs = []
    for heading in re.findall(r"^#{1,6} +(.*?)[ #]*$", text, re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        slugs.append(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return [f"{slug}-{slugs[:i].count(slug)}" if slug in slugs[:i] else slug for i, slug in enumerate(slugs)]


def test_anchors_are_made_as_github_makes_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `make test`, or 2?\n## [Why](x.md) not_so - now\n```sh\n# no\n```\n## Crops\n### Crops ##\n# Crops\n")
    assert anchors(page) == ["a-make-test-or-2", "why-not_so---now", "crops", "crops-1", "crops-2"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_a_file_and_a_heading(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_pages_that_the_code_names_exist():
    places = [
        ROOT / "Makefile",
        *(p for name in ("c2d_fast", "benchmarks", "dali_pipes", "tests") for p in (ROOT / name).rglob("*.py")),
    ]
    named = {name for path in places for name in re.findall(r"\b((?:docs|dali_pipes)/[\w/-]+\.md)", path.read_text())}
    assert {"docs/first-steps.md", "docs/forms.md", "dali_pipes/README.md"} <= named
    assert all((ROOT / name).is_file() for name in named), named


def test_the_measured_cost_of_recording_is_what_the_benchmark_wrote():
    measured, text = result("recording-cpu"), " ".join((ROOT / "docs/seeing.md").read_text().split())
    runs = measured["runs"]
    for name, what in (("default", "with pictures"), ("no pictures", "without any")):
        run = runs[name]
        assert f"{run['recording_percent']:.2f} % of the time {what}" in text
        assert run["recording_percent"] < 1
    assert f"{runs['default']['recording_ms']:.2f} ms for each step of {runs['default']['step_ms']:.0f} ms" in text
    assert measured["epochs"] == 25
