"""Expands `tiny_core.safetensors` into a gpt-oss model folder that the real vLLM serves on a CPU, offline.

The core holds a trained GptOssForCausalLM (two layers, four experts) without the rows of the vocabulary that
it never learned. Here it grows back to the 201,088 tokens of o200k_harmony, and gets a tokenizer whose
vocabulary comes out of oss-harmony, so that nothing is downloaded. Its replies follow the Harmony format and
cite `[1]` when the prompt has that marker; they prove protocol and plumbing, nothing about answer quality.

Runs in the environment that setup_vllm.sh makes: python tiny_gptoss.py OUT_DIR
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

CORE = Path(__file__).with_name("tiny_core.safetensors")
VOCABULARY_SIZE = 201_088
N_TEXT_TOKENS = 199_998
NAMED_TOKENS = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    200_018: "<|endofprompt|>",
}
END_TOKENS = [200_002, 199_999, 200_012]
NOISE_STRIDE = 7919
"""Untrained token t was trained as row t * NOISE_STRIDE % n_noise; the model learned to look past it."""

# The split of o200k, as published with tiktoken: letters with their case, numbers by three, the rest.
_UPPER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_LOWER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
WORD_PATTERN = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def write_model_folder(out: Path) -> None:
    """Write weights, configuration and tokenizer; about 80 MB, some ten seconds."""
    out.mkdir(parents=True, exist_ok=True)
    _write_weights(out)
    tokenizer = build_tokenizer(harmony_ranks())
    tokenizer.save(str(out / "tokenizer.json"))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"}
    _write_json(out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    ids = {"bos_token_id": 199_998, "eos_token_id": END_TOKENS, "pad_token_id": 199_999}
    _write_json(out / "generation_config.json", {**ids, "do_sample": True})


def harmony_ranks() -> dict[bytes, int]:
    """The text tokens with their merge ranks, read out of the vocabulary that oss-harmony carries."""
    harmony = import_module("openai_harmony")
    encoding = harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
    decode_bytes = encoding._inner.decode_bytes  # the public decode() cannot show half a character
    return {bytes(decode_bytes([token])): token for token in range(N_TEXT_TOKENS)}


def build_tokenizer(ranks: dict[bytes, int]) -> Any:
    """A byte-level BPE tokenizer with the ids of o200k_harmony."""
    tokenizers = import_module("tokenizers")
    spelling = _byte_spelling()

    def spell(token: bytes) -> str:
        return "".join(spelling[byte] for byte in token)

    merges = [(spell(left), spell(right)) for left, right in _merges(ranks)]
    vocabulary = {spell(token): rank for token, rank in ranks.items()}
    model = tokenizers.models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=True)
    tokenizer = tokenizers.Tokenizer(model)
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(WORD_PATTERN), behavior="isolated")
    to_bytes = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    control = range(N_TEXT_TOKENS, VOCABULARY_SIZE)
    names = [NAMED_TOKENS.get(token, f"<|reserved_{token}|>") for token in control]
    tokenizer.add_special_tokens([tokenizers.AddedToken(name, normalized=False) for name in names])
    moved = [name for token, name in NAMED_TOKENS.items() if tokenizer.token_to_id(name) != token]
    if moved:
        raise ValueError(f"control tokens have other ids than in Harmony: {moved}")
    return tokenizer


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every way to put a token together from two others, in the order in which BPE tries them."""
    ordered: list[tuple[int, int, int, bytes, bytes]] = []
    for token, rank in ranks.items():
        halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        ordered += [(rank, ranks[a], ranks[b], a, b) for a, b in halves if a in ranks and b in ranks]
    return [(left, right) for *_, left, right in sorted(ordered)]


def _byte_spelling() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE files (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(0x100)]


def _write_weights(out: Path) -> None:
    torch, safetensors = import_module("torch"), import_module("safetensors")
    files = import_module("safetensors.torch")
    with safetensors.safe_open(CORE, "pt") as core:
        config = core.metadata()["config"]
    weights = files.load_file(CORE)
    known, embed, head, noise = (weights.pop(f"core.{part}") for part in ("ids", "embed", "head", "noise"))
    every_embedding = noise[torch.arange(VOCABULARY_SIZE) * NOISE_STRIDE % len(noise)].clone()
    every_embedding[known] = embed
    full_head = torch.zeros(VOCABULARY_SIZE, head.shape[1], dtype=head.dtype)
    full_head[known] = head
    weights |= {"model.embed_tokens.weight": every_embedding, "lm_head.weight": full_head}
    files.save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(config, encoding="utf-8")


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_model_folder(Path(sys.argv[1]))
