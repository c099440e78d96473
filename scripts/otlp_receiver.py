"""An OTLP collector for tests: decodes what a node exports with the official package, and checks it.

usage: otlp_receiver.py PORT_FILE SPANS_FILE

It answers the first request with 429 and `Retry-After: 0`, so that the node must repeat it. Each accepted span is
written to SPANS_FILE as a line of JSON.
"""

import http.server
import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

port_file, spans_file = sys.argv[1:]
requests = 0


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global requests
        requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        assert self.headers["x-test"] == "a b", self.headers
        if requests == 1:
            return self.answer(429, b"", [("Retry-After", "0")])
        request = ExportTraceServiceRequest.FromString(body)
        with open(spans_file, "a") as out:
            for resource_spans in request.resource_spans:
                resource = {a.key: value(a.value) for a in resource_spans.resource.attributes}
                for span in (s for scope in resource_spans.scope_spans for s in scope.spans):
                    line = {
                        "service": resource["service.name"],
                        "node": resource["service.instance.id"],
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "nanos": span.end_time_unix_nano - span.start_time_unix_nano,
                        "attributes": {a.key: value(a.value) for a in span.attributes},
                    }
                    print(json.dumps(line), file=out, flush=True)
        self.answer(200, ExportTraceServiceResponse().SerializeToString(), [])

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, text in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
with open(port_file, "w") as out:
    out.write(str(server.server_address[1]))
server.serve_forever()
