"""Readers of weights: checkpoints of ours, published ones, safetensors."""

import io
import json

import torch
from hypothesis import strategies as st

from c2d_fast.commands.resume import check_classes, known_paths, note_changes, read_resumed
from c2d_fast.commands.run_info import _checkpoint_lines, _plain, checkpoint_facts
from c2d_fast.errors import UserError
from c2d_fast.model import checkpoint
from c2d_fast.model.model_file import of_checkpoint, read_model_file
from c2d_fast.model.published_config import backbone_of
from c2d_fast.training.checkpoints import newest
from fuzzed.inputs import MODEL, RECIPE, SHAPES, VALUES, Reader, damaged, deep, one_line, replaced


def our_checkpoint():
    progress = {"step": 8, "epoch": 2, "clips": 0, "best_top1": 12.5, "best_epoch": 1, "skipped": 0}
    return {
        "format": checkpoint.FORMAT, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "scaler": {},
        "progress": progress, "tally": [0.0] * 6, "recipe": RECIPE, "classes": ["a", "b"], "seed": 0, "videos": "0" * 64,
        "lists": [{"path": "/l.txt", "sha256": "0" * 64}], "versions": {"torch": "2"}, "left_out_rows": [1, 2],
        "used": {"batch_size": 2, "hybrid_share": 0.5, "decoder": "ffmpeg"},
    }  # fmt: skip


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


class CheckpointFile(Reader):
    file = "last.pt"

    def files(self):
        whole = {**our_checkpoint(), "model": MODEL}
        parts = replaced(our_checkpoint(), VALUES | st.sampled_from([deep(100), deep(300)]))
        odd = parts.map(lambda parts: saved({**parts, "model": MODEL} if isinstance(parts, dict) else parts))
        return damaged(saved(whole)) | damaged(saved(whole, _use_new_zipfile_serialization=False)) | odd

    def read(self):
        try:
            show(self.path)
        except UserError as error:
            one_line(error)
        content = read_resumed(self.path)
        check_classes(content, _NoList())
        known_paths(content, ["list.txt"])
        assert newest(self.folder, "--resume")
        identity = {key: our_checkpoint()[key] for key in ("seed", "videos", "lists", "used", "recipe", "versions")}
        identity["used"] = dict.fromkeys(("global_batch", "precision", "decoder", "hybrid_share", "base_lr"))
        note_changes(content, identity)
        return of_checkpoint(content, self.path).model


class DamagedCheckpoint(CheckpointFile):
    """Without anything replaced: its weights are those that were saved, or it is refused."""

    def files(self):
        return damaged(saved({**our_checkpoint(), "model": MODEL}))

    def read(self):
        file = read_model_file(self.path, "--checkpoint")
        assert all(torch.equal(file.state[name], value) for name, value in MODEL.items())


class _NoList:
    path, classes = "list.txt", ("a", "b")


def show(path):
    facts = _plain(checkpoint_facts(path))
    json.dumps(facts, allow_nan=False)
    "\n".join(_checkpoint_lines(facts))


class PublishedFile(Reader):
    file = "published.pth"

    def files(self):
        state = {"backbone.conv1.conv.weight": torch.zeros(2, 2), "cls_head.fc_cls.bias": torch.zeros(2)}
        whole = {"meta": {"cfg": "model = dict(backbone=dict(type='C2D'))", "epoch": 1}, "state_dict": state}
        meta = replaced({"cfg": "x", "hooks": [{"a": None}], "state": {"b": [1]}}, VALUES | st.just(deep(200)))
        odd = meta.map(lambda meta: saved({"meta": meta, "state_dict": {**state, **(meta if isinstance(meta, dict) else {})}}))
        foreign = saved({**whole, "optimizer": Foreign()})
        return damaged(saved(whole)) | odd | damaged(foreign) | damaged(saved(whole, _use_new_zipfile_serialization=False))

    def read(self):
        backbone_of(self.path)
        show(self.path)


class Foreign:
    """An object that only its own program can build."""


class SafetensorsFile(Reader):
    file = "a.safetensors"

    def files(self):
        import safetensors.torch

        card = {"format": "c2d_fast.card/1", "recipe": RECIPE, "classes": ["a", "b"], "progress": {"step": 1}}

        def with_card(card):
            return safetensors.torch.save(MODEL, {"format": "pt", "c2d_fast.card": json.dumps(card)})

        return damaged(with_card(card)) | replaced(card).map(with_card) | self.headers()

    @staticmethod
    def headers():
        """Files with a header of any shape, and a right length before it."""
        whole = {"__metadata__": {"format": "pt"}, "fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        texts = replaced(whole, SHAPES | st.sampled_from(["F8_E4M3", "F4", "C64", "BOOL", [0], [2, 0]])).map(json.dumps)
        return texts.map(lambda text: len(text).to_bytes(8, "little") + text.encode() + b"\0" * 8)

    def read(self):
        show(self.path)
        return read_model_file(self.path, "--checkpoint").model
