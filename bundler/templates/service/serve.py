"""Example service with a greeting and a health check. Replace it with your own.

The installer starts it in its versioned folder. WAYBILL_CONFIG names the site's configuration, a JSON file that
config.schema.json accepts. WAYBILL_DATA names a folder that all versions share.
"""

import json
import os
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer

CONFIG = json.loads(Path(os.environ["WAYBILL_CONFIG"]).read_bytes())
ANSWERS = {
    "/": CONFIG.get("greeting", "Hello from {{product}}.") + "\n",
    "/healthz": '{"status": "passing", "version": "0.1.0"}\n',
}


class Server(ThreadingTCPServer):
    allow_reuse_address = True  # the previous version has just closed this port
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        answer = ANSWERS.get(self.path)
        body = (answer or "not found\n").encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with Server(("127.0.0.1", CONFIG["port"]), Handler) as server:
        server.serve_forever()
