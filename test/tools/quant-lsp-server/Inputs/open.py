"""usage: open.py SERVER FILE

Opens FILE in the language server as an editor does and prints the messages of
the diagnostics that it answers with, `LINE: MESSAGE`, lines counted from 1."""

import json
import pathlib
import subprocess
import sys


class Server:
    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def send(self, **message):
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        header = f"Content-Length: {len(text)}\r\n\r\n".encode()
        self.process.stdin.write(header + text)
        self.process.stdin.flush()

    def receive(self):
        """The next message. An end of the stream is an error."""
        length = None
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("expected an answer, the server has ended")
            if not line.strip():
                break
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return json.loads(self.process.stdout.read(length))

    def wait_for(self, matches):
        while not matches(message := self.receive()):
            pass
        return message


server = Server(sys.argv[1])
path = pathlib.Path(sys.argv[2]).resolve()
server.send(
    id=1,
    method="initialize",
    params={"processId": None, "rootUri": None, "capabilities": {}},
)
answer = server.wait_for(lambda message: message.get("id") == 1)
if "capabilities" not in answer.get("result", {}):
    sys.exit(f"expected capabilities, got {answer}")
server.send(method="initialized", params={})
document = {
    "uri": path.as_uri(),
    "languageId": "mlir",
    "version": 1,
    "text": path.read_text(),
}
server.send(method="textDocument/didOpen", params={"textDocument": document})
opened = server.wait_for(
    lambda message: message.get("method") == "textDocument/publishDiagnostics"
)
found = opened["params"]["diagnostics"]
for diagnostic in found:
    line = diagnostic["range"]["start"]["line"] + 1
    print(f"{line}: {diagnostic['message']}")
print(f"{len(found)} diagnostics")
server.send(id=2, method="shutdown")
server.wait_for(lambda message: message.get("id") == 2)
server.send(method="exit")
server.process.stdin.close()
sys.exit(server.process.wait(60))
