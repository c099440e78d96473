"""Compares the encoder's precisions with ONNX Runtime's f32, which agrees with PyTorch to six digits.

With the weights of all-MiniLM-L6-v2, it prints the cosines of the same text's two embeddings, and Spearman's correlation
of the similarities of all pairs, which a search depends on.

The texts are the sentences of Python's own help topics. `pip install onnx onnxruntime numpy tokenizers`; then
`python benches/peers/fidelity.py [PROGRAM]`, where PROGRAM is a built example `encoder_passes`.
"""

import re
import subprocess
import sys
from pydoc_data.topics import topics

import numpy as np
from tokenizers import Tokenizer

from encoder import CACHE, ROOT, Onnx, Ours, graph, minilm

TEXTS = 400


def sentences():
    """Returns sentences of all topics, in turns, so that they are about many things."""
    prose = [re.split(r"(?<=[.:;])\s+", " ".join(topics[name].split())) for name in sorted(topics)]
    fit = [[part for part in parts if 20 <= len(part) <= 600] for parts in prose]
    turns = (part[turn] for turn in range(max(map(len, fit))) for part in fit if turn < len(part))
    return list(dict.fromkeys(turns))[:TEXTS]


def ranks(numbers):
    """Returns each number's rank; no two similarities are the same."""
    places = np.empty(len(numbers))
    places[np.argsort(numbers)] = np.arange(len(numbers))
    return places


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/examples/encoder_passes"
    if len(sys.argv) == 1:
        subprocess.run(["cargo", "build", "--release", "--workspace", "--example", "encoder_passes"], cwd=ROOT, check=True)
    folder = minilm()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    sequences = [tokenizer.encode(text).ids for text in sentences()]
    engines = {"ORT f32": Onnx(graph(folder, CACHE / "MiniLM.onnx"), 2)}
    engines |= {precision: Ours(program, folder, precision, 1) for precision in ("f32", "bf16", "int8")}
    pairs = np.triu_indices(len(sequences), 1)
    vectors = {}
    for name, engine in engines.items():
        rows = np.array([engine.run([sequence], 1, True)[2] for sequence in sequences])
        vectors[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    exact = vectors.pop("ORT f32")
    count = f"{len(sequences)} texts of {np.mean([len(sequence) for sequence in sequences]):.0f} tokens, {len(pairs[0])} pairs"
    print(f"{count}\n\n| precision | cosine, mean | least | Spearman of all pairs |\n|---|---|---|---|")
    expected = ranks((exact @ exact.T)[pairs])
    for name, rows in vectors.items():
        cosines = (rows * exact).sum(axis=1)
        spearman = np.corrcoef(ranks((rows @ rows.T)[pairs]), expected)[0, 1]
        print(f"| {name} | {cosines.mean():.6f} | {cosines.min():.6f} | {spearman:.6f} |")


if __name__ == "__main__":
    main()
