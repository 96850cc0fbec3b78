"""The formats of exported models: how each is written, and opened again."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from imclass.evaluation.classifier import Classifier
from imclass.evaluation.pooling import with_plain_pooling
from imclass.runs.weights import load_weights, read_weights, write_safetensors

Metadata = Mapping[str, str]
Run = Callable[[Tensor], Tensor]  # pictures, uint8 (N, height, width, channels) -> probabilities
EXTRA_FILE = "imclass.json"  # the metadata inside a .pt2 or .torchscript file
EXAMPLE = 2, 37, 53  # pictures to trace with: no size among them means anything


class Format(NamedTuple):
    """What writes a format, and what opens it; a file without a graph is opened into the original."""

    write: Callable[[Classifier, Path, Metadata], None]
    open: Callable[[Path, Classifier], Run]


def _write_onnx(model: Classifier, path: Path, metadata: Metadata) -> None:
    with _quiet():
        program = torch.onnx.export(
            with_plain_pooling(model),
            (_example(model),),
            dynamo=True,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=_dynamic(),
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(metadata)
        program.save(str(path), external_data=False)


def _open_onnx(path: Path, model: Classifier) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(model: Classifier, path: Path, metadata: Metadata) -> None:
    with _quiet():
        program = torch.export.export(model, (_example(model),), dynamic_shapes=_dynamic())
        torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(metadata)})


def _open_pt2(path: Path, model: Classifier) -> Run:
    with _quiet():
        return torch.export.load(path).module()


def _write_torchscript(model: Classifier, path: Path, metadata: Metadata) -> None:
    with _quiet():
        traced = torch.jit.trace(model, (_example(model),), check_trace=False)
        torch.jit.save(traced, str(path), _extra_files={EXTRA_FILE: json.dumps(metadata)})


def _open_torchscript(path: Path, model: Classifier) -> Run:
    with _quiet():
        loaded: Run = torch.jit.load(str(path))
        return loaded


def _write_safetensors(model: Classifier, path: Path, metadata: Metadata) -> None:
    write_safetensors(path, model.network.state_dict(), metadata)


def _open_safetensors(path: Path, model: Classifier) -> Run:
    load_weights(model.network, read_weights(path, digest_required=True), str(path))
    return model


FORMATS = {
    "onnx": Format(_write_onnx, _open_onnx),
    "pt2": Format(_write_pt2, _open_pt2),
    "torchscript": Format(_write_torchscript, _open_torchscript),
    "safetensors": Format(_write_safetensors, _open_safetensors),
}


def _example(model: Classifier) -> Tensor:
    return torch.randint(256, (*EXAMPLE, model.channels), dtype=torch.uint8)


def _dynamic() -> dict[str, Any]:
    return {"images": dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, exporters keep their progress, advice and deprecations to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
