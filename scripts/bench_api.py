"""The measurements of scripts/bench-api. The environment names the node's address and token."""

import http.client
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

BASE = urllib.parse.urlsplit(os.environ["OPENAI_BASE_URL"])
HEADERS = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
# Lengths in tokens, as of sentences and paragraphs: the same mixture as in benches/peers/encoder.py, 50 on average.
SOURCE = random.Random(1)
LENGTHS = [min(256, max(5, int(SOURCE.lognormvariate(3.6, 0.8)))) for _ in range(1920)]
# Each word is one token.
WORDS = "the of and to in is was for on as with by he at from his it an were are which be or had first one new after".split()
TEXTS = [" ".join(SOURCE.choice(WORDS) for _ in range(length - 2)) for length in LENGTHS]
MODEL = pathlib.Path("target/models/all-MiniLM-L6-v2")


class Client:
    def __init__(self):
        self.connection = http.client.HTTPConnection(BASE.hostname, BASE.port)

    def ask(self, method, path, body=None):
        while True:
            data = None if body is None else json.dumps(body)
            self.connection.request(method, path, data, HEADERS)
            answer = self.connection.getresponse()
            read = answer.read()
            if answer.status == 429:
                time.sleep(0.02)
                continue
            assert answer.status < 300, (answer.status, read)
            return json.loads(read)


def at_once(threads, work):
    """Gives every item of a list to some thread; returns the seconds that all took, and those of each item."""
    items, took, lock = list(enumerate(work)), [], threading.Lock()

    def run():
        client = Client()
        while True:
            with lock:
                if not items:
                    return
                _, item = items.pop(0)
            begun = time.perf_counter()
            item(client)
            with lock:
                took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - begun, sorted(took)


def submit(text):
    return lambda client: client.ask("POST", "/api/v1/tasks", {"type": "embedding", "input": text, "timeout_seconds": 300})


def embed(texts):
    return lambda client: client.ask("POST", "/v1/embeddings", {"input": texts, "encoding_format": "base64"})


def finish(count):
    """Waits for the newest tasks to end, and returns how long each took in its node."""
    client = Client()
    while True:
        status = client.ask("GET", "/api/v1/status")
        if status["tasks_queued"] + status["tasks_running"] > 0:
            time.sleep(0.01)
            continue
        tasks = client.ask("GET", f"/api/v1/tasks?limit={count}")["tasks"]
        if all(task["status"] == "COMPLETED" for task in tasks):
            return sorted(task["elapsed_ms"] for task in tasks)
        time.sleep(0.05)


def report(what, figure):
    print(f"{what}: {figure}", flush=True)


def processes():
    """Returns the node's process and those of its models."""
    node = int(os.environ["NODE_PID"])
    threads = pathlib.Path(f"/proc/{node}/task").iterdir()
    return [node, *(int(child) for thread in threads for child in (thread / "children").read_text().split())]


def resident():
    """Returns what each process has in memory, in bytes."""
    pages = [int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes()]
    return [count * os.sysconf("SC_PAGE_SIZE") for count in pages]


def tasks_a_second():
    """Returns how many tasks a second end, of 1,000 texts submitted 16 at a time; the median of three rounds."""
    figures = []
    for _ in range(3):
        begun = time.perf_counter()
        at_once(16, [submit(text) for text in TEXTS[:1000]])
        finish(1000)
        figures.append(1000 / (time.perf_counter() - begun))
    return statistics.median(figures)


at_once(2, [embed(TEXTS[:16])] * 4)
if sys.argv[1:] == ["rate"]:
    print(tasks_a_second())
    sys.exit(0)
if sys.argv[1:2] == ["turns"]:
    # Only one of the models fits into memory, so each turn loads one and unloads the other.
    client = Client()
    for turn in range(110):
        if turn == 10:
            before = resident()[0]
        for model in sys.argv[2:]:
            client.ask("POST", "/v1/embeddings", {"model": model, "input": TEXTS[turn]})
    report("two models loaded and unloaded 100 times each, the node's memory grown by", f"{(resident()[0] - before) / 1e6:.2f} MB")
    sys.exit(0)
report("1,000 texts of mixed length, a task each, submitted 16 at a time", f"{tasks_a_second():.0f} tasks/s")

figures = []
for _ in range(3):
    begun = time.perf_counter()
    at_once(8, [submit(f"task number {number} of one hundred") for number in range(100)])
    took = finish(100)
    figures.append((100 / (time.perf_counter() - begun), took[98]))
per_second, slowest = (statistics.median(figure) for figure in zip(*figures))
report("100 tasks at once", f"{per_second:.0f} tasks/s, p99 {slowest:.0f} ms")

status = [lambda client: client.ask("GET", "/api/v1/status")] * 10_000
total, took = at_once(8, status)
report("10,000 status queries, 8 at a time", f"{10_000 / total:.0f}/s, p99 {took[9_899] * 1000:.2f} ms")

# First as many results as a node keeps, then as many again.
for _ in range(2):
    before = resident()
    ids = []
    tell = lambda client, text: ids.append(submit(text)(client)["id"])
    at_once(16, [lambda client, number=number: tell(client, f"short text number {number}") for number in range(10_000)])
    finish(100)
grown = [(after - before) / 1e6 for before, after in zip(before, resident())]
report("10,000 tasks after 10,000, memory grown by", ", ".join(f"{part:.2f} MB" for part in grown) + " (node, model)")
store = pathlib.Path(os.environ["P2P_AI_HOME"], "data", "node.redb")
# One request at a time: the threads of one Python process wait for each other longer than for the node.
_, took = at_once(1, [lambda client, id_=id_: client.ask("GET", f"/api/v1/tasks/{id_}/result") for id_ in ids])
report("10,000 results kept, read one by one", f"p99 {took[9_899] * 1000:.2f} ms; file {store.stat().st_size / 1e6:.0f} MB")
_, took = at_once(1, [submit(f"one more, number {number}") for number in range(1_000)])
report("10,000 results kept, a task written before it is accepted, one by one", f"p99 {took[989] * 1000:.2f} ms")

parts = [TEXTS[at : at + 64] for at in range(0, len(TEXTS), 64)]


def texts_a_second(work):
    """Returns how many texts a second eight clients have embedded."""
    total, _ = at_once(8, work)
    return len(TEXTS) / total


class Kernels:
    """Passes over tokens in the same mixture of lengths, by the bare kernels on the same cores."""

    def __init__(self):
        command = ["target/release/examples/encoder_passes", MODEL, "int8", str(os.cpu_count())]
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.program.stdout.readline()
        self.parts = [
            [[101, *(SOURCE.randrange(1000, 30000) for _ in range(length - 2)), 102] for length in LENGTHS[at : at + 64]]
            for at in range(0, len(LENGTHS), 64)
        ]

    def texts_a_second(self):
        begun = time.perf_counter()
        for part in self.parts:
            self.program.stdin.write(json.dumps({"passes": os.cpu_count(), "together": False, "sequences": part}) + "\n")
            self.program.stdin.flush()
            self.program.stdout.readline()
        return os.cpu_count() * len(TEXTS) / (time.perf_counter() - begun)


ways = {"plain HTTP": lambda: texts_a_second([embed(part) for part in parts])}
try:
    import openai

    clients = openai.OpenAI()

    def create(part):
        return lambda _: clients.embeddings.create(model="all-MiniLM-L6-v2", input=part)

    ways[f"the openai {openai.__version__} client"] = lambda: texts_a_second([create(part) for part in parts])
except ImportError:
    pass
if (MODEL / "config.json").exists():
    ways["bare kernels, no node"] = Kernels().texts_a_second
# In turns, so that other load on the machine affects all of them equally.
rounds = [[measure() for measure in ways.values()] for _ in range(5)]
for way, figures in zip(ways, zip(*rounds)):
    ratio = statistics.median(figure / round[-1] for figure, round in zip(figures, rounds))
    beside = f", {ratio:.2f} of the kernels'" if (MODEL / "config.json").exists() else ""
    report(f"OpenAI's embeddings, 64 texts a request, 8 clients, {way}", f"{statistics.median(figures):.0f} texts/s{beside}")
