"""ONNX models in fewer bits: float16, and int8 with the ranges of a list's clips.

What must stay exact stays float32: the pixels until they are normalised, the last average and the classifier.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from c2d_fast.model.compared import Clips

_QUANTIZED = ("Conv", "Add", "MaxPool")  # all but attention's products, which are few; the classifier is a Gemm


def to_half(proto: Any) -> Any:
    """Returns a model whose weights and inner numbers are float16; the first and last steps, its input and outputs stay.

    ONNX Runtime's own converter rounds the pixels' mean as well, and casts to and fro at every step that is kept.
    """
    import onnx

    proto = onnx.shape_inference.infer_shapes(proto)
    graph = proto.graph
    nodes = list(graph.node)
    first, last = _body(nodes)
    body = nodes[first:last]
    floats = _floats(graph)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outside = {name for node in (*nodes[:first], *nodes[last:]) for name in node.input}
    made = {name for node in body for name in node.output}
    casts_in, casts_out = dict[str, Any](), dict[str, Any]()
    for node in body:
        for place, name in enumerate(node.input):
            if name not in floats or name in made:
                continue
            if name in weights and name not in outside:
                _halve(weights.pop(name))
                floats.discard(name)
                continue
            half = f"{name}.float16"
            casts_in.setdefault(name, onnx.helper.make_node("Cast", [name], [half], half, to=onnx.TensorProto.FLOAT16))
            node.input[place] = half
        _halve_attributes(node)
    for node in nodes[last:]:
        for place, name in enumerate(node.input):
            if name in made and name in floats:
                whole = f"{name}.float32"
                casts_out.setdefault(name, onnx.helper.make_node("Cast", [name], [whole], whole, to=onnx.TensorProto.FLOAT))
                node.input[place] = whole
    del graph.node[:], graph.value_info[:]  # what was known of types is no longer so
    graph.node.extend([*nodes[:first], *casts_in.values(), *body, *casts_out.values(), *nodes[last:]])
    return proto


def _body(nodes: list[Any]) -> tuple[int, int]:
    """Returns where the convolutions begin, and where the averages of their last frames do."""
    first = next(place for place, node in enumerate(nodes) if node.op_type == "Conv")
    last = max(place for place, node in enumerate(nodes) if node.op_type == "Conv")
    return first, next(place for place in range(last, len(nodes)) if nodes[place].op_type == "ReduceMean")


def _floats(graph: Any) -> set[str]:
    """Returns the names of all that is float32."""
    import onnx

    values = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    values |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name for name, kind in values.items() if kind == onnx.TensorProto.FLOAT}


def _halve(tensor: Any) -> None:
    import onnx

    with np.errstate(over="ignore"):  # infinite then, which the comparison with PyTorch finds
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))


def _halve_attributes(node: Any) -> None:
    """Makes float16 of what a node itself makes as float32: constants, and casts to it."""
    import onnx

    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == onnx.TensorProto.FLOAT:
            _halve(attribute.t)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.FLOAT16


def to_int8(proto: Any, batches: Iterable[Clips]) -> Any:
    """Returns a model whose convolutions compute in int8, with steps that quantize and dequantize in between (QDQ).

    Weights have a scale for each channel, what lies between a scale for each tensor: the largest number that any clip gave.
    All are symmetric around 0, and biases stay float32, as TensorRT demands; ONNX Runtime makes int32 of them where it loads.

    Args:
        proto: the model in float32.
        batches: clips, uint8 [N, T, H, W, 3]; read once, one after the other.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, Clips] | None:
            clips = next(self._batches, None)
            return None if clips is None else {"clips": clips}

    with tempfile.TemporaryDirectory() as folder, _without_warnings():
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        onnx.save(proto, before)
        quantization.quantize_static(
            before,
            after,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return onnx.load(after)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps the quantizer from advice on its own use, for which it would set up logging."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
