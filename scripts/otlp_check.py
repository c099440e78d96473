"""Checks the spans that two nodes exported for three tasks, as otlp_receiver.py wrote them. Exits with 2 if some are
missing, so that the caller can wait for them."""

import json
import sys

spans = [json.loads(line) for line in open(sys.argv[1])]
tasks = {span["span"]: span for span in spans if span["name"] == "task embedding"}
attempts = [span for span in spans if span["name"] == "attempt embedding"]
assigned = [span for span in spans if span["name"] == "message assign"]
if min(len(tasks), len(attempts), len(assigned)) < 3:
    sys.exit(2)
assert all(span["service"] == "mesh" for span in spans), spans
assert len(tasks) == len(attempts) == 3, spans
for attempt in attempts:
    task = tasks[attempt["parent"]]
    assert task["trace"] == attempt["trace"] and task["node"] != attempt["node"], (task, attempt)
    assert task["nanos"] >= attempt["nanos"] > 0, (task, attempt)
    assert attempt["attributes"]["gen_ai.usage.input_tokens"] > 0, attempt
    assert attempt["attributes"]["gen_ai.request.model"] == "all-MiniLM-L6-v2", attempt
assert all(span["parent"] in tasks for span in assigned), assigned
print(f"{len(spans)} spans of {len(tasks)} tasks on two nodes fit together")
