"""``optix explain RUN``: what a run decided, when, and because of which numbers."""

from __future__ import annotations

import argparse
import shutil
import sys

from optix_core.cli.flags import OK
from optix_core.cli.settings import add_settings, open_run, split_words
from optix_core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run."""
    add_settings(parser, "directory of the run ('last': the newest)", "RUN")


def run(args: argparse.Namespace) -> int:
    """Tell the story."""
    name, overrides = split_words(args.words)
    if name is None or overrides:
        raise ConfigError("optix explain takes one run: optix explain RUN")
    from optix_core.runs.explain import as_text, story

    found = open_run(name)
    chapters = story(found.log().read())
    if args.json:
        from optix_core.cli.documents import print_document

        print_document({"run_dir": str(found.path), "story": [chapter.to_dict() for chapter in chapters]})
    elif chapters:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(as_text(chapters, width or None)))
    else:
        print(f"{found.path} has no decisions yet")
    return OK
