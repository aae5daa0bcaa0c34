"""Runs what the README's section "Load it" says, as it stands there, and prints what came of it, as JSON.

readme.py CACHE README, beside the folder job_7, with AZURE_STORAGE_CONNECTION_STRING: {"rows", "printed",
"commands", "published"}. The endpoint of Blob Storage is the only thing that is replaced. The Hub is a
server here that takes what it is given.
"""

import contextlib
import datetime
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading

cache, readme = sys.argv[1:]
connection = dict(
    part.split("=", 1) for part in os.environ["AZURE_STORAGE_CONNECTION_STRING"].split(";") if part
)


class Hub(http.server.BaseHTTPRequestHandler):
    """What an upload of small files asks of the Hub; the files of commits are kept by their names."""

    files = set()
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer, url = {}, f"http://{self.headers['Host']}/datasets/NAME/job_7"
        if self.path.endswith("/api/repos/create"):
            answer = {"url": url, "id": "NAME/job_7"}
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            kind = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            answer = {"files": [{"path": name, **kind} for name in names]}
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            Hub.files.update(line["value"]["path"] for line in lines if line["key"] == "file")
            answer = {"commitUrl": url + "/commit/1", "commitOid": "1", "success": True}
        self.answer(answer)

    def do_GET(self):
        self.answer({"id": "NAME/job_7", "sha": "0", "siblings": []})

    def answer(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print(self.command, self.path, file=sys.stderr)


hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
# Before the imports: nothing is fetched from elsewhere, and nothing is kept outside the directory given.
os.environ.update(
    HF_HOME=cache,
    HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}",
    HF_TOKEN="hf_token",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    NO_PROXY="127.0.0.1",
    PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""),
)

from azure.storage.blob import generate_container_sas  # noqa: E402

os.environ["AZURE_STORAGE_SAS_TOKEN"] = generate_container_sas(
    connection["AccountName"],
    "pixcrawler-datasets",
    connection["AccountKey"],
    permission="r",
    expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1),
)

# What a block imports, and the library that it is for.
LIBRARIES = {name: name for name in ("webdataset", "pandas", "duckdb")} | {"load_dataset": "datasets"}

section = re.search(r"^## Load it$(.*?)^## ", open(readme).read(), re.S | re.M).group(1)
section = section.replace("https://ACCOUNT.blob.core.windows.net", connection["BlobEndpoint"].rstrip("/"))
rows, printed, commands = {}, io.StringIO(), 0
for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", section, re.S | re.M):
    if language == "python":
        names = {}
        with contextlib.redirect_stdout(printed):
            exec(block, names)  # What a reader does.
        (library,) = LIBRARIES.keys() & names.keys()
        found = names["pictures"] if "pictures" in names else names["items"]
        rows[LIBRARIES[library]] = len(found) if hasattr(found, "__len__") else sum(1 for _ in found)
    else:
        for line in block.splitlines():
            subprocess.run(line, shell=True, check=True, stdout=sys.stderr)
            commands += 1

found = {"rows": rows, "printed": printed.getvalue(), "commands": commands, "published": sorted(Hub.files)}
json.dump(found, sys.stdout)
