"""Writes bert/pairs.json, what the tiny BERT computes of pairs of texts with each activation, and cross-encoder/, a
still smaller BERT of random weights with a single score, and its scores. All of it in 64-bit numpy.

Usage: pairs.py        (needs numpy, safetensors and tokenizers)

The definitions are those of the papers (Devlin et al. 2019; GELU: Hendrycks and Gimpel 2016). The same code gives the
logits of single texts that PyTorch gave (bert/expected.json), which it checks first.
"""

import json
import math
import pathlib
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

DATA = pathlib.Path(__file__).parent
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


class Bert:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self.weights = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.config["max_position_embeddings"])

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + self.config["layer_norm_eps"])
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def logits(self, ids, types, activation):
        table = lambda name: self.weights[f"bert.embeddings.{name}_embeddings.weight"]
        x = table("word")[ids] + table("position")[: len(ids)] + table("token_type")[types]
        x = self.norm("bert.embeddings.LayerNorm", x)
        heads = self.config["num_attention_heads"]
        width = self.config["hidden_size"] // heads
        for layer in range(self.config["num_hidden_layers"]):
            at = f"bert.encoder.layer.{layer}"
            parts = [self.linear(f"{at}.attention.self.{part}", x) for part in ("query", "key", "value")]
            query, key, value = (part.reshape(len(ids), heads, width).transpose(1, 0, 2) for part in parts)
            scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            context = (scores @ value).transpose(1, 0, 2).reshape(len(ids), -1)
            attended = self.linear(f"{at}.attention.output.dense", context)
            x = self.norm(f"{at}.attention.output.LayerNorm", attended + x)
            wide = ACTIVATIONS[activation](self.linear(f"{at}.intermediate.dense", x))
            x = self.norm(f"{at}.output.LayerNorm", self.linear(f"{at}.output.dense", wide) + x)
        return self.linear("classifier", np.tanh(self.linear("bert.pooler.dense", x[0]))).tolist()

    def rows(self, activations):
        for query, text in PAIRS:
            pair = self.tokenizer.encode(query, text)
            logits = {name: self.logits(pair.ids, pair.type_ids, name) for name in activations}
            yield {"query": query, "text": text, "ids": pair.ids, "types": pair.type_ids, "logits": logits}


def write(path, rows):
    path.write_text(json.dumps(list(rows), indent=1) + "\n")


def make_cross_encoder(folder, vocabulary, positions):
    hidden, wide = 16, 32
    config = {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu_new",
        "hidden_size": hidden, "intermediate_size": wide, "num_attention_heads": 2, "num_hidden_layers": 1,
        "vocab_size": vocabulary, "max_position_embeddings": positions, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "id2label": {"0": "LABEL_0"},
    }  # fmt: skip
    random = np.random.default_rng(7)
    weights = {}

    def add(name, *shape):
        weights[name] = random.normal(0, 1 / math.sqrt(shape[-1]), shape).astype(np.float32)

    def linear(name, outputs, inputs):
        add(f"{name}.weight", outputs, inputs)
        weights[f"{name}.bias"] = random.normal(0, 0.1, outputs).astype(np.float32)

    def norm(name):
        weights[f"{name}.weight"] = (1 + random.normal(0, 0.1, hidden)).astype(np.float32)
        weights[f"{name}.bias"] = random.normal(0, 0.1, hidden).astype(np.float32)

    for name, rows in (("word", vocabulary), ("position", positions), ("token_type", 2)):
        add(f"bert.embeddings.{name}_embeddings.weight", rows, hidden)
    norm("bert.embeddings.LayerNorm")
    layer = "bert.encoder.layer.0"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        linear(f"{layer}.attention.{part}", hidden, hidden)
    norm(f"{layer}.attention.output.LayerNorm")
    linear(f"{layer}.intermediate.dense", wide, hidden)
    linear(f"{layer}.output.dense", hidden, wide)
    norm(f"{layer}.output.LayerNorm")
    linear("bert.pooler.dense", hidden, hidden)
    linear("classifier", 1, hidden)
    weights["classifier.weight"] *= 3
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(weights, folder / "model.safetensors")


def main():
    bert = Bert(DATA / "bert")
    for row in json.loads((DATA / "bert/expected.json").read_text()):
        found = bert.logits(row["ids"], [0] * len(row["ids"]), "gelu")
        assert np.allclose(found, row["logits"], atol=1e-4), (found, row["logits"])
    write(DATA / "bert/pairs.json", bert.rows(ACTIVATIONS))
    folder = DATA / "cross-encoder"
    make_cross_encoder(folder, bert.config["vocab_size"], bert.config["max_position_embeddings"])
    shutil.copy(DATA / "bert/tokenizer.json", folder)
    write(folder / "expected.json", Bert(folder).rows(["gelu_new"]))


main()
