#!/usr/bin/env python3
"""Text generation beside llama.cpp: a TinyLlama-1.1B shape with random Q4_0 weights, runs of both in turn.

usage: llama.py [--model FILE] [--threads N] [--prompt N] [--tokens N] [--rounds N]

Needs `pip install gguf llama-cpp-python numpy`. The model is made once and kept under target/.
"""
import argparse, json, pathlib, statistics, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCABULARY, CONTEXT = 2048, 5632, 22, 32, 4, 32000, 2048

PEER = """
import json, sys, time
import llama_cpp
from llama_cpp import Llama
path, threads, prompt, tokens = sys.argv[1], *map(int, sys.argv[2:5])
model = Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False)
def rss():
    return next(int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
ids = [300 + i * 37 % 30000 for i in range(prompt)]
model.reset(); model.eval(ids[:8]); model.eval([5])
model.reset()
start = time.perf_counter(); model.eval(ids); read = time.perf_counter() - start
start = time.perf_counter()
for i in range(tokens):
    model.eval([500 + i])
wrote = time.perf_counter() - start
print(json.dumps({"prompt": prompt / read, "decode": tokens / wrote, "resident_mib": rss()}))
"""


def make(path):
    """Writes the file; weights are random bytes with scales that keep activations of an ordinary size."""
    import gguf, numpy as np
    random = np.random.default_rng(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [f"\u2581{number}" for number in range(VOCABULARY - len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(VOCABULARY)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def matrix(name, rows, columns):
        blocks = random.integers(0, 256, (rows, columns // 32, 18), dtype=np.uint8)
        scale = np.float16(1 / (4.6 * columns**0.5))
        blocks[:, :, :2] = np.frombuffer(scale.tobytes(), np.uint8)
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    def vector(name):
        writer.add_tensor(name, np.ones(HIDDEN, np.float32))

    kv = HIDDEN // HEADS * KV_HEADS
    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        for part, rows, columns in [("attn_q", HIDDEN, HIDDEN), ("attn_k", kv, HIDDEN), ("attn_v", kv, HIDDEN),
                                    ("attn_output", HIDDEN, HIDDEN), ("ffn_gate", INNER, HIDDEN),
                                    ("ffn_up", INNER, HIDDEN), ("ffn_down", HIDDEN, INNER)]:
            matrix(f"blk.{layer}.{part}.weight", rows, columns)
        vector(f"blk.{layer}.attn_norm.weight")
        vector(f"blk.{layer}.ffn_norm.weight")
    vector("output_norm.weight")
    matrix("output.weight", VOCABULARY, HIDDEN)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()


def line(command):
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if found.returncode != 0:
        sys.exit(f"{' '.join(map(str, command[:4]))} …: {found.stderr.strip()[-2000:]}")
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


def program():
    build = ["cargo", "bench", "-p", "benches", "--bench", "generation", "--no-run", "--message-format", "json"]
    messages = subprocess.run(build, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()
    made = [json.loads(message) for message in messages if '"executable":"' in message]
    return next(message["executable"] for message in made if message["target"]["name"] == "generation")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "target/benches/tinyllama-random-q4_0.gguf")
    parser.add_argument("--program", help="the benchmark, where it is built already")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.model.exists():
        make(arguments.model)
    sizes = [str(arguments.threads), str(arguments.prompt), str(arguments.tokens)]
    ours = [arguments.program or program(), arguments.model, "--threads", sizes[0], "--prompt", sizes[1],
            "--tokens", sizes[2], "--runs", "1", "--packed", ROOT / "target/benches/packed"]
    peer = [sys.executable, "-c", PEER, arguments.model, *sizes]
    runs = {"ours": [], "llama.cpp": []}
    for round in range(arguments.rounds):
        order = [("ours", ours), ("llama.cpp", peer)]
        for name, command in order if round % 2 == 0 else reversed(order):
            runs[name] += line(command)
    print(f"| {'tokens a second':16} | prompt of {arguments.prompt} | decode | most memory, MiB |\n|---|---|---|---|")
    middle = {name: {key: statistics.median(run[key] for run in found) for key in ("prompt", "decode", "resident_mib")}
              for name, found in runs.items()}
    for name, found in middle.items():
        print(f"| {name:16} | {found['prompt']:.0f} | {found['decode']:.1f} | {found['resident_mib']:.0f} |")
    pairs = list(zip(runs["ours"], runs["llama.cpp"]))
    ratio = {key: statistics.median(a[key] / b[key] for a, b in pairs) for key in ("prompt", "decode")}
    size = arguments.model.stat().st_size / 2**20
    print(f"| ratio            | {ratio['prompt']:.2f} | {ratio['decode']:.2f} | file: {size:.0f} |")


if __name__ == "__main__":
    main()
