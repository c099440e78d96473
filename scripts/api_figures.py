"""What scripts/api-figures measures; the node's address and token come from the environment."""

import http.client
import json
import os
import statistics
import sys
import threading
import time
import urllib.parse

BASE = urllib.parse.urlsplit(os.environ["OPENAI_BASE_URL"])
HEADERS = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
# Lengths as texts have them: many short, some long.
WORDS = [3 + (number * number * 7919) % 60 if number % 5 else 60 + number % 120 for number in range(1000)]
TEXTS = [" ".join(f"word{(number * 31 + word) % 997}" for word in range(count)) for number, count in enumerate(WORDS)]


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


at_once(2, [embed(TEXTS[:16])] * 4)
figures = []
for _ in range(3):
    begun = time.perf_counter()
    at_once(16, [submit(text) for text in TEXTS])
    finish(1000)
    figures.append(1000 / (time.perf_counter() - begun))
report("1,000 texts of mixed length, a task each, submitted 16 at a time", f"{statistics.median(figures):.0f} tasks/s")

figures = []
for _ in range(3):
    begun = time.perf_counter()
    at_once(8, [submit(f"task number {number} of one hundred") for number in range(100)])
    took = finish(100)
    figures.append((100 / (time.perf_counter() - begun), took[98]))
rate, slowest = (statistics.median(figure) for figure in zip(*figures))
report("100 tasks at once", f"{rate:.0f} tasks/s, p99 {slowest:.0f} ms")

status = [lambda client: client.ask("GET", "/api/v1/status")] * 10_000
total, took = at_once(8, status)
report("10,000 status queries, 8 at a time", f"{10_000 / total:.0f}/s, p99 {took[9_899] * 1000:.2f} ms")

parts = [TEXTS[at : at + 64] for at in range(0, 960, 64)] * 2
total, _ = at_once(8, [embed(part) for part in parts])
report("OpenAI's embeddings, 64 texts a request, 8 clients, plain HTTP", f"{64 * len(parts) / total:.0f} texts/s")

try:
    import openai
except ImportError:
    sys.exit(0)
clients = openai.OpenAI()
total, _ = at_once(8, [lambda _, part=part: clients.embeddings.create(model="all-MiniLM-L6-v2", input=part) for part in parts])
report(f"the same with the openai {openai.__version__} client", f"{64 * len(parts) / total:.0f} texts/s")
