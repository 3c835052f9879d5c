"""Does every page do what it says? Runs the code blocks of README.md and docs/, and follows the links.

What the fences of a page mean, top to bottom, in one empty folder and one Python session per page:

- ``python`` is executed; what a block defines, later blocks of the page can use.
- ``console`` is a terminal: lines after ``$`` are run by bash, and lines without it are the output that must follow,
  where ``...`` stands for anything. ``dev.py`` commands are only parsed: they are what runs this test.
- ``text``, ``toml``, ``yaml``, ``json`` are shown.

A comment above a fence changes that: ``<!-- test: file NAME -->`` writes the block to a file, ``<!-- test: exit N -->``
expects that exit status of the last command, ``<!-- test: skip REASON -->`` leaves the block out, and
``<!-- test: slow REASON -->`` leaves it to ``-m slow``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
]
SHOWN = ("text", "toml", "yaml", "json")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"<!-- test: (file|exit|skip|slow) (.+?) -->\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block and what the comment above it asks for."""

    language: str
    body: str
    line: int
    directive: str = ""
    value: str = ""


def blocks_of(text: str) -> Iterator[Block]:
    for match in FENCE.finditer(text):
        said = DIRECTIVE.search(text[: match.start()])
        yield Block(
            language=match[1],
            body=match[2],
            line=text.count("\n", 0, match.start()) + 2,
            directive=said[1] if said else "",
            value=said[2] if said else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a console block and the output shown under it."""

    command: str
    shown: str


def commands_of(body: str) -> list[Command]:
    found: list[list[str]] = []
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines).strip()
            found.append([command])
        elif found:
            found[-1].append(line)
        else:
            raise AssertionError(f"a console block starts with '$ ', and this one with: {line}")
    return [Command(command=c, shown="\n".join(rest).strip()) for c, *rest in found]


def matches(shown: str, output: str) -> bool:
    """Is this the output that was promised, ``...`` standing for anything, also for several lines?"""
    if not shown:
        return True
    pattern = r".*?".join(re.escape(part) for part in shown.split("..."))
    trimmed = "\n".join(line.rstrip() for line in output.strip().splitlines())
    return re.fullmatch(pattern, trimmed, re.DOTALL) is not None


SESSION = """
import json, sys, traceback
scope = {"__name__": "__main__"}
real, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    name, code = json.loads(line)
    try:
        exec(compile(code, name, "exec"), scope)
        answer = ""
    except BaseException:
        answer = traceback.format_exc()
    print(json.dumps(answer), file=real, flush=True)
"""


class Reader:
    """Someone who follows a page in a folder of their own, typing everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPTIX_", "PYTEST"))}
        kept["PATH"] = f"{programs}{os.pathsep}{kept['PATH']}"
        self.env = kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "NO_COLOR": "1"}
        self.python: subprocess.Popen[str] | None = None

    def run_python(self, name: str, code: str) -> None:
        if self.python is None:
            command = [sys.executable, "-c", SESSION]
            pipe = subprocess.PIPE
            self.python = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.env,
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.python.stdin is not None
        assert self.python.stdout is not None
        self.python.stdin.write(json.dumps([name, code]) + "\n")
        self.python.stdin.flush()
        answer = self.python.stdout.readline()
        assert answer, f"{name}: Python ended"
        assert not json.loads(answer), f"{name} failed:\n{json.loads(answer)}"

    def run_command(self, name: str, item: Command, status: int) -> None:
        words = shlex.split(item.command, comments=True)
        if words[:2] == ["python3", "dev.py"]:
            parsed_by_dev(words[2:])
            return
        done = subprocess.run(
            ["bash", "-c", item.command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        told = f"{name}: $ {item.command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == status, told
        assert matches(item.shown, done.stdout) or matches(item.shown, done.stdout + done.stderr), told

    def follow(self, page: str, block: Block, *, patiently: bool = False) -> None:
        name = f"{page}:{block.line}"
        if block.directive == "skip" or (block.directive == "slow" and not patiently):
            return
        if block.directive == "file":
            path = self.folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "python":
            self.run_python(name, "\n" * (block.line - 1) + block.body)
        elif block.language == "console":
            items = commands_of(block.body)
            for i, item in enumerate(items):
                expected = int(block.value) if block.directive == "exit" and i == len(items) - 1 else 0
                self.run_command(name, item, expected)
        else:
            assert block.language in SHOWN, (
                f"{name}: a fence needs a language: python, console or one of {SHOWN}"
            )
            hidden = [
                line for line in block.body.splitlines() if re.match(r"\$ |optix \w+ |python3 dev\.py", line)
            ]
            assert not hidden, f"{name}: commands belong in a console block, where they are run: {hidden}"

    def close(self) -> None:
        if self.python is not None:
            self.python.communicate()


def parsed_by_dev(words: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    dev = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dev)
    own = words[: words.index("--")] if "--" in words else words
    options, rest = dev.parser().parse_known_args(own)
    if options.command == "bench":
        assert options.name in dev.benchmarks()
    if options.command in {"build", "setup"}:
        assert rest == []


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    someone = Reader(tmp_path)
    yield someone
    someone.close()


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        reader.follow(page_name(page), block)


SLOW_PAGES = [page for page in PAGES if "<!-- test: slow " in page.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", SLOW_PAGES, ids=page_name)
def test_a_page_does_what_it_says_in_its_slow_parts_too(page: Path, reader: Reader) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        reader.follow(page_name(page), block, patiently=True)


# --- links --------------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """The page without its code, in which brackets mean other things."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The names that headings get: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"\w+://", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), f"{target}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / t).resolve() for t in targets if not re.match(r"\w+://", t)]
    assert {page_name(p) for p in PAGES} <= {page_name(p) for p in reached}


def test_every_benchmark_is_described() -> None:
    found = {p.stem.removeprefix("bench_") for p in (ROOT / "benchmarks").glob("bench_*.py")}
    found |= {p.parent.name for p in (ROOT / "benchmarks").glob("*/run.py")}
    described = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    )
    assert described == found


# --- can these tests fail? ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```\n```python\nassert x == 2\n```",
        "```python\nraise SystemExit(0)\n```",
        "```console\n$ exit 3\n```",
        "<!-- test: exit 2 -->\n```console\n$ true\n```",
        "```console\n$ echo hello\nhallo\n```",
        "```console\n$ python3 dev.py tset\n```",
        "```console\n$ python3 dev.py bench no_such_benchmark\n```",
        "```\nno language\n```",
        "```text\noptix train CartPole-v1\n```",
        "```console\nhello\n```",
        "<!-- test: file a.txt -->\n```text\nhello\n```\n```console\n$ grep hallo a.txt\n```",
    ],
)
def test_a_page_that_lies_is_found_out(text: str, reader: Reader) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        for block in blocks_of(text):
            reader.follow("lie.md", block)


def test_a_page_that_is_true_passes(reader: Reader) -> None:
    text = (
        "```python\nx = 1\n```\nprose\n\n```python\nassert x == 1\n```\n"
        "<!-- test: file a/b.txt -->\n```text\noptix train X\n```\n"
        "```console\n$ cat \\\n    a/b.txt\noptix ...\n$ echo one; echo two; echo three\none\n...\nthree\n```\n"
        "<!-- test: exit 4 -->\n```console\n$ true\n$ exit 4\n```\n"
        "<!-- test: skip (needs a network) -->\n```console\n$ false\n```\n"
        "```console\n$ python3 dev.py test --only core -- -k loop\n```\n"
        "<!-- test: slow (an hour) -->\n```console\n$ false\n```\n"
    )
    blocks = list(blocks_of(text))
    assert [b.directive for b in blocks] == ["", "", "file", "", "exit", "skip", "", "slow"]
    for block in blocks:
        reader.follow("true.md", block)
    with pytest.raises(AssertionError):
        reader.follow("true.md", blocks[-1], patiently=True)


def test_heading_anchors_are_those_that_forges_make() -> None:
    text = "# E-codes & what to do\n\n```text\n# not a heading\n```\n\n## `optix train`: options\n"
    assert anchors(text) == {"e-codes--what-to-do", "optix-train-options"}
