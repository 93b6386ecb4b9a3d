"""man.py KINDRED VERSION OUT: the manual page of the command, from its own --help and its commands'."""

import os
import pathlib
import re
import subprocess
import sys

KINDRED, VERSION, OUT = sys.argv[1:]
COMMON = "Options of every command:"


def help_of(*command):
    return subprocess.run([KINDRED, *command, "--help"], check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8"}, timeout=30).stdout


def commands_in(text):
    part = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    return re.findall(r"^  ([a-z][a-z-]*) ", part[1], re.MULTILINE) if part else []


def all_commands(*command):
    """Each command that takes arguments, with its help."""
    text = help_of(*command)
    inner = commands_in(text)
    if not inner:
        yield command, text
    for name in inner:
        yield from all_commands(*command, name)


def roff(text):
    """Text that troff leaves as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def options(text):
    """The lines of a help's options as a list of tagged paragraphs."""
    entries = []
    for line in text.splitlines():
        begun = re.match(r"^ +((?:-\w, )?--\S+|-\w\S*)(?:\s+(.*))?$", line)
        if begun and len(line) - len(line.lstrip()) < 10:
            entries.append([begun[1], begun[2] or ""])
        elif line.strip() and entries:
            entries[-1][1] += " " + line.strip()
    return "".join(f".TP\n.B {roff(name)}\n{roff(said.strip())}\n" for name, said in entries)


def section(command, text):
    own = text.partition(COMMON)[0]
    usage, _, rest = own.partition("\n")
    said, _, listed = rest.partition("Options:\n")
    said = re.sub(r"^(Example| {9}|Exit status)", r".br\n\1", roff(said.strip()), flags=re.MULTILINE)
    usage = roff(usage.removeprefix("Usage: "))
    return (f".SS {roff(' '.join(command))}\n.B {usage}\n.PP\n{said}\n{options(listed)}")


def main():
    commands = list(all_commands())
    common = commands[0][1].partition(COMMON)[2]
    intro = help_of().split("\n\n")[1]
    pathlib.Path(OUT).write_text(
        f'.TH KINDRED 1 "" "kindred {VERSION}" "User Commands"\n'
        f".SH NAME\nkindred \\- {roff(intro[0].lower() + intro[1:].rstrip('.'))}\n"
        ".SH SYNOPSIS\n.B kindred\n.I COMMAND\n[\\fIARGUMENT\\fR...]\n"
        f".SH COMMANDS\n{''.join(section(*one) for one in commands)}"
        f".SH OPTIONS OF EVERY COMMAND\n{options(common)}"
        ".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 3 service unreachable.\n", encoding="utf-8")


main()
