"""What docs/benchmarks.md says of a GPU is what the JSON of its stages holds."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import on_gpu

    return on_gpu


def test_the_page_has_what_was_measured(on_gpu):
    from report import between_marks

    text, measured = (ROOT / "docs/benchmarks.md").read_text(), json.loads(on_gpu.RESULT.read_text())
    for mark, table in on_gpu.TABLES.items():
        assert f"<!-- {mark}: begin -->" in text
        assert between_marks(text, mark, table(measured)) == text
    both, model = measured["stages"]["both"]["pipes"][0], measured["stages"]["models"]["pipes"][0]["model"]
    sentence = f"trained {model['clips_per_s']:.0f} clips/s from memory, and {both['both']['clips_per_s']:.0f} from all-intra"
    assert sentence in (ROOT / "README.md").read_text()
    assert "H100" in measured["stages"]["both"]["machine"]["gpu"]


def test_stages_are_joined_and_what_was_seen_by_hand_stays(on_gpu, tmp_path, monkeypatch):
    (tmp_path / "gpu-probe.json").write_text(json.dumps({"out": str(Path.home() / "x")}))
    out = tmp_path / "joined.json"
    out.write_text(json.dumps({"stages": {"models": {}}, "seen": {"by": "hand"}}))
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", str(tmp_path), "--out", str(out)])
    on_gpu.main()
    assert json.loads(out.read_text()) == {
        "format": on_gpu.FORMAT, "stages": {"probe": {"out": "~/x"}}, "seen": {"by": "hand"},
    }  # fmt: skip
