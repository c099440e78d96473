"""Writes bert/pairs.json: what the tiny BERT computes of pairs of texts, with each activation, in 64-bit numpy.

Usage: pairs.py        (needs numpy, safetensors and tokenizers)

The definitions are those of the papers (Devlin et al. 2019; GELU: Hendrycks and Gimpel 2016). The same code gives the
logits of single texts that PyTorch gave (bert/expected.json), which it checks first.
"""

import json
import math
import pathlib

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

FOLDER = pathlib.Path(__file__).parent / "bert"
CONFIG = json.loads((FOLDER / "config.json").read_text())
WEIGHTS = {name: tensor.astype(np.float64) for name, tensor in load_file(FOLDER / "model.safetensors").items()}
ERF = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
}
PAIRS = [
    ("who sleeps?", "the cat sleeps on the sofa"),
    ("who sleeps?", "a ship sails"),
    ("a", "b"),
    ("one two three four five six seven eight nine ten " * 30, "short"),
    ("short", "one two three four five six seven eight nine ten " * 30),
]


def linear(name, x):
    return x @ WEIGHTS[f"{name}.weight"].T + WEIGHTS[f"{name}.bias"]


def norm(name, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    x = (x - mean) / np.sqrt(variance + CONFIG["layer_norm_eps"])
    return x * WEIGHTS[f"{name}.weight"] + WEIGHTS[f"{name}.bias"]


def logits(ids, types, activation):
    table = lambda name: WEIGHTS[f"bert.embeddings.{name}_embeddings.weight"]
    x = table("word")[ids] + table("position")[: len(ids)] + table("token_type")[types]
    x = norm("bert.embeddings.LayerNorm", x)
    heads = CONFIG["num_attention_heads"]
    width = CONFIG["hidden_size"] // heads
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"bert.encoder.layer.{layer}"
        parts = [linear(f"{at}.attention.self.{part}", x).reshape(len(ids), heads, width) for part in ("query", "key", "value")]
        query, key, value = (part.transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        context = (scores @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(f"{at}.attention.output.LayerNorm", linear(f"{at}.attention.output.dense", context) + x)
        wide = ACTIVATIONS[activation](linear(f"{at}.intermediate.dense", x))
        x = norm(f"{at}.output.LayerNorm", linear(f"{at}.output.dense", wide) + x)
    return linear("classifier", np.tanh(linear("bert.pooler.dense", x[0]))).tolist()


def main():
    for row in json.loads((FOLDER / "expected.json").read_text()):
        found = logits(row["ids"], [0] * len(row["ids"]), "gelu")
        assert np.allclose(found, row["logits"], atol=1e-4), (found, row["logits"])
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(CONFIG["max_position_embeddings"])
    rows = []
    for query, text in PAIRS:
        encoding = tokenizer.encode(query, text)
        made = {name: logits(encoding.ids, encoding.type_ids, name) for name in ACTIVATIONS}
        rows.append({"query": query, "text": text, "ids": encoding.ids, "types": encoding.type_ids, "logits": made})
    (FOLDER / "pairs.json").write_text(json.dumps(rows, indent=1) + "\n")


main()
