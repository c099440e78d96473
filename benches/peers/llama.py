#!/usr/bin/env python3
"""Compares the speed of a Llama with llama.cpp, on the same file and tokens.

    pip install gguf llama-cpp-python numpy
    python benches/peers/llama.py [--threads 2] [--rounds 7] [--core-time] [--model FILE]

Both take turns, in persistent processes of their own. The table has the medians of all rounds, and of the ratios of each
round. On a busy machine, --core-time compares the processor time of one thread each. Without --model, the file has the shape
of TinyLlama-1.1B with random weights in Q4_0; it is made once and kept under target/.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "models"
HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, VOCABULARY, CONTEXT = 2048, 5632, 22, 32, 4, 32000, 2048

PEER = """
import json, sys, time
from llama_cpp import Llama, __version__
path, threads = sys.argv[1], int(sys.argv[2])
started = time.perf_counter()
model = Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False)
print(json.dumps({"load": time.perf_counter() - started, "version": __version__}), flush=True)
def memory(name):
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith(name))
for line in sys.stdin:
    request = json.loads(line)
    model.reset()
    times = [(time.perf_counter(), time.process_time())]
    model.eval(request["prompt"])
    times.append((time.perf_counter(), time.process_time()))
    for token in range(request["tokens"]):
        model.eval([500 + token])
    times.append((time.perf_counter(), time.process_time()))
    read, written = ([b - a for a, b in zip(*pair)] for pair in zip(times, times[1:]))
    print(json.dumps({"read": read, "written": written}), flush=True)
print(json.dumps({"memory_mib": memory("VmHWM:"), "own_mib": memory("RssAnon:")}))
"""


def make(path):
    """Writes the file; weights are random bytes with scales that keep activations of an ordinary size."""
    import gguf
    import numpy as np

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


class Engine:
    """A process that reads and writes tokens."""

    def __init__(self, command):
        try:
            self.process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            sys.exit(f"cannot measure with {command[0]}: {error}\n"
                     "hint: cargo build --release --workspace --features p2p-ai-agents-benches/peers --example generation_passes builds it into target/release/examples")
        self.began = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit(f"{self.process.args[0]} ended with {self.process.wait()}")

    def run(self, prompt, tokens, clock):
        """Returns tokens a second, read and written, by the clock or by the time on processors."""
        self.process.stdin.write(json.dumps({"prompt": prompt, "tokens": tokens}) + "\n")
        self.process.stdin.flush()
        found = self.answer()
        return len(prompt) / found["read"][clock], tokens / found["written"][clock]

    def end(self):
        self.process.stdin.close()
        return self.answer()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=CACHE / "tinyllama-shape-q4_0.gguf")
    parser.add_argument("--program", help="a built example generation_passes; it is built otherwise")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--core-time", action="store_true", help="time on the processor, one thread each")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if not arguments.model.exists():
        make(arguments.model)
    program = arguments.program
    if program is None:
        build = ["cargo", "build", "--release", "--workspace", "--features", "p2p-ai-agents-benches/peers", "--example",
                 "generation_passes"]
        subprocess.run(build, cwd=ROOT, check=True)
        built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        program = built / "release/examples/generation_passes"
    clock, threads = int(arguments.core_time), "1" if arguments.core_time else str(arguments.threads)
    engines = {"here": Engine([program, arguments.model, threads, CACHE / "packed"]),
               "llama.cpp": Engine([sys.executable, "-c", PEER, arguments.model, threads])}
    prompt = [300 + at * 37 % 30000 for at in range(arguments.prompt)]
    for engine in engines.values():
        engine.run(prompt, 4, clock)
    runs = {name: [] for name in engines}
    for turn in range(arguments.rounds):
        order = list(engines.items())
        for name, engine in order if turn % 2 == 0 else reversed(order):
            runs[name].append(engine.run(prompt, arguments.tokens, clock))
    began = engines["llama.cpp"].began
    load = os.getloadavg()[0]
    what = "time on the processor" if clock else "time"
    print(f"{arguments.model.name}, {arguments.model.stat().st_size / 2**20:.0f} MiB; llama-cpp-python "
          f"{began['version']}; {threads} threads, {what}; medians of {arguments.rounds} rounds; load {load:.1f}\n")
    print(f"| tokens a second | {arguments.prompt} read | {arguments.tokens} written | loaded, s | MiB | its own |")
    print("|---|---|---|---|---|---|")
    for name, engine in engines.items():
        read, written = (statistics.median(speeds) for speeds in zip(*runs[name]))
        end, load = engine.end(), engine.began["load"]
        print(f"| {name:15} | {read:.0f} | {written:.1f} | {load:.2f} | {end['memory_mib']} | {end['own_mib']} |")
    ratios = [[ours / theirs for ours, theirs in zip(*pair)] for pair in zip(runs["here"], runs["llama.cpp"])]
    read, written = (statistics.median(ratio) for ratio in zip(*ratios))
    print(f"| ratio           | {read:.2f} | {written:.2f} | | | |")


if __name__ == "__main__":
    main()
