#!/usr/bin/python3
"""Writes docs/protos.md, the reference of the calls, from the comments in proto/kindred/v1.

    tools/docs/protos.py [OUT]      (needs protoc and Debian's python3-protobuf)
"""

import importlib
import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

SOURCE = pathlib.Path(__file__).resolve().parents[2]
# In this order; what is left over comes behind.
FIRST = ["gateway", "embedder", "indexer", "trainer", "process"]
Field = descriptor_pb2.FieldDescriptorProto

HEAD = """# The calls: services, messages, fields

Made from the comments in `proto/kindred/v1` by `tools/docs/protos.py`: change them there, then `make docs`.
How a program calls them is in [clients.md](clients.md), the same as JSON over HTTP in [http.md](http.md).

**At the gateway's address** all five services are served. Calls of the embedder, the indexer and the trainer
are passed on to them; `ProcessService` there is the gateway's own, and takes `SetLogLevel` for the others.

**Scope** is what an API key must allow where the stack asks for keys ([operating.md](operating.md)). **May be
sent again**: a call that got no answer can be repeated without a second effect; the command and the services
do so by themselves.

**Errors.** The codes that a call has for reasons of its own stand in what is said about it or its fields; a
field out of its bounds is INVALID_ARGUMENT, what is named and is not there NOT_FOUND. Any call may end with:

| code | why |
| --- | --- |
| UNAUTHENTICATED | a key is wanted and there is none, or it is wrong, expired or revoked |
| PERMISSION_DENIED | the key's scope is too small |
| RESOURCE_EXHAUSTED | too much is asked at a time, or a message is too large; try again later |
| UNAVAILABLE | a service is not reached or ends just now; try again later |
| DEADLINE_EXCEEDED, CANCELLED | the caller's deadline passed, or it left |
| DATA_LOSS | a file on the disk is damaged |
| INTERNAL | what should not happen; the log of the service has more |

A field of a message that is absent reads as zero, empty or false, as in all of proto3.
"""


def load():
    """The descriptors of our protos, with comments and with the option that names a scope."""
    with tempfile.TemporaryDirectory() as work:
        files = sorted((SOURCE / "proto" / "kindred" / "v1").glob("*.proto"))
        subprocess.run(["protoc", "-I", SOURCE / "proto", f"--descriptor_set_out={work}/set", f"--python_out={work}",
                        "--include_source_info", *files], check=True)
        sys.path.insert(0, work)
        sys.dont_write_bytecode = True
        access = importlib.import_module("kindred.v1.access_pb2")
        described = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(work, "set").read_bytes())
    return {pathlib.PurePath(file.name).stem: file for file in described.file}, access


def comments_of(file):
    """{path: comment}; a path is that of descriptor.proto's SourceCodeInfo."""
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location
            if place.leading_comments}


def text(comment):
    """Paragraphs in place of lines."""
    parts = [" ".join(part.split()) for part in comment.strip().split("\n \n")]
    return "\n\n".join(parts).replace("<", "&lt;")


def cell(comment):
    return text(comment).replace("\n\n", "<br>").replace("|", "\\|")


def anchor(name):
    return f"[{name}](#{name.lower()})"


def type_of(field):
    name = Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        name = anchor(field.type_name.rpartition(".")[2])
    return f"{name}, repeated" if field.label == Field.LABEL_REPEATED else name


def fields(message, path, comments):
    """The table of a message's fields; those of which one is set at most say so."""
    if not message.field:
        return "No fields.\n"
    oneofs = [one.name for one in message.oneof_decl]
    rows = ["| | field | type | |\n| ---: | --- | --- | --- |\n"]
    for i, field in enumerate(message.field):
        said = cell(comments.get((*path, 2, i), ""))
        if field.HasField("oneof_index"):
            said = f"*{oneofs[field.oneof_index]}*: {said}"
        rows.append(f"| {field.number} | `{field.name}` | {type_of(field)} | {said} |\n")
    for i, name in enumerate(oneofs):
        rows.append(f"\nOf *{name}* at most one is set: {text(comments.get((*path, 8, i), ''))}\n")
    return "".join(rows)


def message(message, path, comments, level):
    said = text(comments.get(path, ""))
    return f"{'#' * level} {message.name}\n\n{said}\n\n{fields(message, path, comments)}\n"


def enum(enum, path, comments, level):
    rows = "".join(f"| {value.number} | `{value.name}` | {cell(comments.get((*path, 2, i), ''))} |\n"
                   for i, value in enumerate(enum.value))
    return (f"{'#' * level} {enum.name}\n\n{text(comments.get(path, ''))}\n\n"
            f"| | value | |\n| ---: | --- | --- |\n{rows}\n")


def rpc(method, said, access):
    """What is said of a call itself."""
    options = method.options
    scope = access.Scope.Name(options.Extensions[access.scope]).removeprefix("SCOPE_").lower()
    again = options.idempotency_level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    ask, answer = (("stream of " if stream else "") + anchor(name.rpartition(".")[2])
                   for stream, name in ((method.client_streaming, method.input_type),
                                        (method.server_streaming, method.output_type)))
    return (f"### {method.name}\n\n{text(said)}\n\n{ask} → {answer}. Scope {scope}."
            f"{' May be sent again.' if again else ''}\n\n")


def service(file, stem, access, done):
    """A service, its calls, and the messages that are theirs alone."""
    comments = comments_of(file)
    own = {f".{file.package}.{one.name}": (i, one) for i, one in enumerate(file.message_type)}
    out = []
    for s, described in enumerate(file.service):
        out.append(f"## {described.name}\n\n{text(comments.get((6, s), ''))} (`proto/kindred/v1/{stem}.proto`)\n\n")
        for m, method in enumerate(described.method):
            out.append(rpc(method, comments.get((6, s, 2, m), ""), access))
            for name in (method.input_type, method.output_type):
                i, asked = own[name]
                out.append(message(asked, (4, i), comments, 4))
                done.add(name)
    return out


def rest(file, stem, done):
    """What no call has to itself."""
    comments = comments_of(file)
    out = [enum(one, (5, i), comments, 3) for i, one in enumerate(file.enum_type)]
    out += [message(one, (4, i), comments, 3) for i, one in enumerate(file.message_type)
            if f".{file.package}.{one.name}" not in done]
    first = comments.get((12,), "").strip()  # of the line that says proto3
    title = f"## In `{stem}.proto`\n\n{text(first)}\n\n" if out else ""
    return [title, *out]


def overview(files):
    rows = "".join(f"| {anchor(service.name)} | {', '.join(anchor(method.name) for method in service.method)} |\n"
                   for file in files.values() for service in file.service)
    return f"| service | calls |\n| --- | --- |\n{rows}\n"


def reference():
    files, access = load()
    files = {stem: files[stem] for stem in [*FIRST, *sorted(set(files) - set(FIRST))]}
    done = set()
    services = [part for stem, file in files.items() for part in service(file, stem, access, done)]
    others = [part for stem, file in files.items() for part in rest(file, stem, done)]
    return (HEAD + "\n" + overview(files) + "".join(services + others)).rstrip() + "\n"


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE / "docs" / "protos.md"
    out.write_text(reference(), encoding="utf-8")
