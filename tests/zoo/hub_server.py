"""A stand-in of the Hugging Face hub: models made, uploaded and downloaded, in the memory of this process."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The requests of `snapshot_download`, `create_repo` and `upload_folder`; `content` is {model: {file: bytes}}."""

    def do_GET(self):
        self.route(body=True)

    def do_HEAD(self):
        self.route(body=False)

    def route(self, body):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            return self.model("/".join(path.split("/")[3:5]), tree="/tree/" in path)
        name, _, rest = path[1:].partition("/resolve/")
        files = self.server.content.get(name, {})
        file = rest.partition("/")[2]
        if file not in files:
            return self.answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
        data = files[file]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        self.answer(200, data if body else b"", headers, len(data))

    def model(self, name, tree):
        if name not in self.server.content:
            return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        sizes = {file: len(data) for file, data in self.server.content[name].items()}
        if tree:
            return self.answer(200, [{"type": "file", "path": f, "size": n, "oid": COMMIT} for f, n in sizes.items()])
        files = [{"rfilename": file, "size": size} for file, size in sizes.items()]
        self.answer(200, {"id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": files, "tags": []})

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = "/".join(path.split("/")[3:5])
        if path == "/api/repos/create":
            given = json.loads(body)
            name = "/".join(filter(None, [given.get("organization"), given["name"]]))
            self.server.content.setdefault(name, {})
            self.answer(200, {"url": f"{self.server.url}/{name}", "id": name})
        elif path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self.answer(200, {"files": files})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.content[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{self.server.url}/{name}/commit/{COMMIT}"
            self.answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.answer(404, {"error": path})

    def answer(self, status, content, headers=None, length=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "octet-stream" if isinstance(content, bytes) else "json"
        self.send_header("Content-Type", f"application/{kind}")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass
