"""The options of `run`: what is recorded, from the words of a command line."""

from __future__ import annotations

import argparse

from .settings import DEFAULT_EVENTS, GROUPS, Settings, wanted_events
from .telling import RefusedError


def arguments_of(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run` to a parser."""
    told = Settings()
    parser.add_argument(
        "--interval-ms", type=int, default=told.interval_ms, help="between marks (default: 200)"
    )
    parser.add_argument(
        "--size-kb", type=int, default=0, help="of each CPU's buffer (default: by memory, ≤ 8192)"
    )
    parser.add_argument(
        "--event",
        action="append",
        metavar="EVENT",
        help=f"a group ({', '.join(GROUPS)}), SYSTEM/EVENT, or 'SYSTEM/EVENT if FILTER'; several "
        f"(default: {' '.join(DEFAULT_EVENTS)})",
    )
    parser.add_argument("--disk", action="append", default=[], help="trace it by blktrace, too; several")
    parser.add_argument(
        "--tasks", type=int, default=told.tasks, help="processes that a mark tells of (default: 24)"
    )
    parser.add_argument(
        "--share", type=float, default=told.share, help="percent of one CPU for the service (default: 2)"
    )
    parser.add_argument(
        "--keep-previous",
        default="",
        metavar="FOLDER",
        help="keep what the previous boot left in a buffer mapped at boot",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--take", action="store_true", help="use an instance that somebody else made")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that parsed options name; RefusedError for what cannot be."""
    if not 10 <= options.interval_ms <= 60_000:
        raise RefusedError("--interval-ms takes 10 to 60000.")
    if not 0 < options.share <= 100 or not 0 <= options.tasks <= 500 or not 0 <= options.size_kb <= 1 << 22:
        raise RefusedError("--share takes up to 100, --tasks up to 500, --size-kb up to 4194304.")
    settings = Settings(
        options.interval_ms,
        options.size_kb,
        tuple(options.event or DEFAULT_EVENTS),
        tuple(options.disk),
        options.tasks,
        options.share,
        options.take,
        options.keep_previous,
    )
    wanted_events(settings.events)
    return settings
