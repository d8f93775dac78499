"""Pages that are gone: one that a step reads, those of one kind of place, or a share of all.

pages:6.12:tasks:task_struct.comm:lost=0x1e41
pages:6.12:tasks:*:excluded=10%17
"""

from __future__ import annotations

import random

import numpy as np
from support.overlay import PAGE, Overlay

from fuzz.cases import MISSING, Damaged, Kind, site_step, within
from fuzz.subjects import OPEN, STATUSES, Subject, frames_of

SECONDS = 0.4
#: Pages that a case names one by one.
MOST_NAMED = 48


def draw(subject: Subject, chance: random.Random) -> str | None:
    step = site_step(subject, chance)
    reads = subject.reads[step]
    if not len(reads.frames):
        return None
    status = chance.choice(sorted(STATUSES))
    how = chance.randrange(10)
    if how == 0:
        return f"pages:{subject.name}:{step}:*:{status}={chance.choice((1, 10, 50))}%{chance.randrange(1000)}"
    site = chance.choice(reads.sites)
    frames = sorted({at // PAGE for at in site.addresses})
    if how > 2:
        frames = [chance.choice(frames)]
    elif len(frames) > MOST_NAMED:
        frames = sorted(chance.sample(frames, MOST_NAMED))
    return f"pages:{subject.name}:{step}:{site.label}:{status}={','.join(f'{frame:#x}' for frame in frames)}"


def apply(subject: Subject, rest: list[str], slot: int) -> Damaged:
    step, _, said = rest
    status, _, which = said.partition("=")
    if "%" in which:
        share, _, seed = which.partition("%")
        every = frames_of(subject)
        picked = np.random.default_rng(int(seed)).random(len(every)) * 100 < int(share)
        frames = every[picked].tolist()
        readers = sorted(subject.answers)
    else:
        frames = [int(frame, 16) for frame in which.split(",")]
        readers = subject.that_read_frames(frames) or [step]
    overlay = Overlay(subject.dump)
    overlay._drop(STATUSES[status], [frame * PAGE for frame in frames], True)
    steps = within(subject, readers, step, ":".join(rest), SECONDS)
    if step == OPEN:
        steps = within(subject, sorted(subject.answers), step, ":".join(rest), 2 * SECONDS)
    return Damaged(lambda: overlay.dump(fresh=step == OPEN), steps, MISSING)


KIND = Kind("pages", 20, draw, apply)
