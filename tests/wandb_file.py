"""Reads the file of an offline run of Weights & Biases: LevelDB's log format, with W&B's own messages in it."""

import json
import struct

from wandb.proto import wandb_internal_pb2

_BLOCK, _HEADER = 32768, 7


def records(path):
    """Yields the messages of a run-*.wandb file."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = _HEADER, []
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # too little of the block is left for a record
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if not kind:
            at += _BLOCK - at % _BLOCK
            continue
        parts.append(data[at + _HEADER : at + _HEADER + length])
        at += _HEADER + length
        if kind in (1, 4):  # whole, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


def figures(path):
    """Returns tag -> [(step, value)] of a run's figures."""
    found = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                name = item.key or ".".join(item.nested_key)
                if not name.startswith("_"):
                    found.setdefault(name, []).append((record.history.step.num, json.loads(item.value_json)))
    return found


def run_ids(path):
    """Returns the ids of the runs that a file is of."""
    return {record.run.run_id for record in records(path) if record.WhichOneof("record_type") == "run"}
