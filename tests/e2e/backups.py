"""Backups in a bucket: moto plays S3, our server makes, verifies, prunes and restores, and boto3 reads what it wrote."""

import atexit
import hashlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib import request as http

import boto3
import redis
import zstandard
from moto.server import ThreadedMotoServer

PROGRAM = os.environ["E2E_PROGRAM"]
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, step):
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            result = step()
            if result:
                return result
        except (redis.RedisError, OSError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"it never came: {what}")


class Server:
    """Our server, in a folder of its own."""

    def __init__(self, *options, environment=KEYS):
        self.folder = tempfile.mkdtemp(prefix="rubine-e2e-backups-")
        self.port = free_port()
        command = [PROGRAM, "--port", str(self.port), "--dir", self.folder, "--save", "", "--workers", "2"]
        command += ["--enable-debug-command", "yes", "--enable-protected-configs", "yes", *options]
        self.log = open(os.path.join(tempfile.mkdtemp(prefix="rubine-e2e-log-"), "log"), "w+")
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=self.log, stderr=self.log
        )
        # However this ends.
        atexit.register(self.process.kill)
        self.client = redis.Redis(port=self.port, protocol=3, decode_responses=True)

        def answers():
            if self.process.poll() is not None:
                self.log.seek(0)
                raise AssertionError(f"the server ended: {self.log.read()}")
            return self.client.ping()

        until("the server", answers)

    def call(self, *words):
        return self.client.execute_command(*words)

    def info(self):
        return self.call("INFO", "backup")

    def stop(self):
        self.process.kill()
        self.process.wait()


def refused(*options, environment=KEYS):
    folder = tempfile.mkdtemp(prefix="rubine-e2e-refused-")
    command = [PROGRAM, "--port", "0", "--dir", folder, "--backup-timeout", "2", *options]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode != 0, ended
    assert os.listdir(folder) == [], os.listdir(folder)
    return ended.stdout + ended.stderr


class Weather:
    """Stands before the store, and lets some requests fail: every so-and-so many, or all."""

    def __init__(self, port):
        self.every, self.count, self.status = 0, 0, 503
        weather = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def read_body(self):
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while length := int(self.rfile.readline(), 16):
                    body += self.rfile.read(length)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def handle_any(self):
                body = self.read_body()
                weather.count += 1
                if weather.every and weather.count % weather.every == 0:
                    self.answer(weather.status, {}, b"<Error><Code>SlowDown</Code></Error>")
                    return
                target = f"http://127.0.0.1:{port}{self.path}"
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "transfer-encoding")}
                headers["Host"] = f"127.0.0.1:{port}"
                # Otherwise it would be called a form, and be read as one.
                headers.setdefault("content-type", "application/octet-stream")
                asked = http.Request(target, data=body or None, headers=headers, method=self.command)
                try:
                    with http.urlopen(asked) as answer:
                        self.answer(answer.status, dict(answer.headers), answer.read())
                except http.HTTPError as error:
                    self.answer(error.code, dict(error.headers), error.read())

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
moto.start()
host, port = moto.get_host_and_port()
endpoint = f"http://{host}:{port}"
s3 = boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
)
s3.create_bucket(Bucket="bucket")
target = ["--backup-endpoint", endpoint, "--backup-url", "s3://bucket/some/prefix"]


def names():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
    return sorted(it["Key"] for page in pages for it in page.get("Contents", []))


# Nothing there, nobody there, no bucket: three answers.
address = ["--restore", "s3://bucket/some/prefix"]
assert "there is no backup" in refused(*address, "--backup-endpoint", endpoint)
assert "cannot be reached" in refused(*address, "--backup-endpoint", f"http://127.0.0.1:{free_port()}")
assert "no such bucket" in refused("--restore", "s3://elsewhere/x", "--backup-endpoint", endpoint)

server = Server(*target, "--backup-retention", "2")
until("the check of the target", lambda: server.info()["backup_target"] == "ok")
assert server.call("BACKUP", "TEST") == "OK"
# More than one part of what is uploaded in parts.
server.call("CONFIG", "SET", "backup-compression-level", "0")
server.call("CONFIG", "SET", "rdbcompression", "no")
server.call("DEBUG", "POPULATE", "60000", "key", "400")
server.client.hset("hash", mapping={"a": 1, "b": 2})
digest = server.call("DEBUG", "DIGEST")
first = server.call("BACKUP", "NOW", "WAIT")
folder = f"some/prefix/sets/{first}"
assert names() == [f"{folder}/{it}" for it in ("dump.rdb", "manifest.json", "verified.json")], names()
manifest = json.loads(s3.get_object(Bucket="bucket", Key=f"{folder}/manifest.json")["Body"].read())
dump = s3.get_object(Bucket="bucket", Key=f"{folder}/dump.rdb")["Body"].read()
assert 16 << 20 < len(dump) == manifest["dump"]["bytes"], manifest
assert hashlib.sha256(dump).hexdigest() == manifest["dump"]["sha256"]
assert dump.startswith(b"REDIS00") and manifest["keys"] == 60001
assert s3.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []

# Compressed, it is a frame of zstd.
server.call("CONFIG", "SET", "backup-compression-level", "3")
second = server.call("BACKUP", "NOW", "WAIT")
key = f"some/prefix/sets/{second}/dump.rdb.zst"
dump = s3.get_object(Bucket="bucket", Key=key)["Body"].read()
assert zstandard.ZstdDecompressor().stream_reader(dump).read().startswith(b"REDIS00")
listed = server.call("BACKUP", "REMOTE", "LIST")
assert [it["state"] for it in listed] == ["verified", "verified"], listed
third = server.call("BACKUP", "NOW", "WAIT")
assert all(first not in it for it in names()), names()
server.call("BACKUP", "REMOTE", "DELETE", second)
assert [it["id"] for it in server.call("BACKUP", "REMOTE", "LIST")] == [third]

# Bad weather: every third request fails. Backups come through, or are told to have failed.
weather = Weather(port)
weather.every = 3
server.call("CONFIG", "SET", "backup-endpoint", weather.url)
made = server.call("BACKUP", "NOW", "WAIT")
assert server.call("BACKUP", "REMOTE", "LIST")[0] == {
    **server.call("BACKUP", "REMOTE", "LIST")[0], "id": made, "state": "verified"
}
weather.every, weather.status = 1, 403
try:
    server.call("BACKUP", "NOW", "WAIT")
    raise SystemExit("a store that refuses was taken for a good one")
except redis.ResponseError as error:
    assert "access is refused" in str(error), error
server.call("CONFIG", "SET", "backup-endpoint", endpoint)
assert server.call("BACKUP", "REMOTE", "LIST")[0]["id"] == made

# A killed server: the next run ends what it has left.
server.call("CONFIG", "SET", "backup-rate-limit", "4mb")
server.call("CONFIG", "SET", "backup-compression-level", "0")
server.call("BACKUP", "NOW")
until("an upload", lambda: s3.list_multipart_uploads(Bucket="bucket").get("Uploads"))
until("its note", lambda: any("/uploads/" in it for it in names()))
server.stop()
again = Server(*target, "--dir", server.folder)
until("the check of the target", lambda: again.info()["backup_target"] == "ok")
assert s3.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []
assert not any("/uploads/" in it for it in names()), names()
again.stop()

# On another machine, by the files of AWS's tools.
home = tempfile.mkdtemp(prefix="rubine-e2e-home-")
os.mkdir(os.path.join(home, ".aws"))
with open(os.path.join(home, ".aws", "credentials"), "w") as file:
    file.write("[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
with open(os.path.join(home, ".aws", "config"), "w") as file:
    file.write(f"[default]\nregion = us-east-1\nendpoint_url = {endpoint}\n")
restored = Server(*address, environment={"HOME": home})
assert restored.call("DEBUG", "DIGEST") == digest
restored.stop()

# The log, and a moment of it.
server = Server(*target, "--backup-url", "s3://bucket/log", "--backup-pitr", "yes", "--backup-pitr-interval", "1")
server.client.set("a", 1)
until("an image", lambda: int(server.info()["backups_total"]) == 1)
server.client.set("b", 1)
moment = server.client.time()[0]
until("the next second", lambda: moment < server.client.time()[0])
server.client.flushall()
until("the log", lambda: moment < int(server.info()["backup_log_covers_until"]))
stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
restored = Server("--restore", f"s3://bucket/log@{stamp}", "--backup-endpoint", endpoint)
assert sorted(restored.client.keys()) == ["a", "b"], restored.client.keys()
restored.stop()
server.stop()
moto.stop()
print("backups went to S3 and came back, through bad weather and a killed server, and boto3 read them")
