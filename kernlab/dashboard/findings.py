"""The verdict and the leads of a dump in, what the overview shows of them out as plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from kernlab.dashboard.table_view import Pages
from kernlab.display.summary import opens_alone
from kernlab.dump import TABLES
from kernlab.escape import show_controls
from kernlab.util import text
from kernlab.verdict.story import MOST_EVIDENCE, tell
from kernlab.verdict.told import says

if TYPE_CHECKING:
    from kernlab.dump import Dump

_MOST_LEADS = 8
_MOST_EVIDENCE = 8


def verdict(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The verdict's story: why it died, what shows it (each with its table), how sure, what is against it, and what
    else is wrong."""
    table = pages.table("verdict")
    told = tell(table)
    first = table.iloc[0] if len(table) else None
    shown = [] if first is None or first["role"] == "beside" else list(first["evidence"])[:_MOST_EVIDENCE]
    # What shows other causes of the same end is told without its tables.
    rest = told.why if first is None else told.why[len(says(first)[:MOST_EVIDENCE]) :]
    return {
        "count": len(table),
        "title": text.shorten(told.title, 400),
        "died": [text.shorten(one, 800) for one in told.died if one],
        "sure": told.sure,
        "evidence": [
            {
                "says": text.shorten(_text(one["says"]), 400),
                "table": _text(one["table"]) if one["table"] in TABLES and opens_alone(one["table"]) else "",
                "place": _place(pages, one),
            }
            for one in shown
        ]
        + [{"says": text.shorten(one, 400), "table": "", "place": None} for one in rest],
        "doubts": [text.shorten(one, 500) for one in told.doubts],
        "besides": [text.shorten(one, 500) for one in told.besides],
        "next": [text.shorten(one, 500) for one in told.next],
        "cell": text.shorten(told.cell, 400),
    }


def _place(pages: Pages, evidence: dict[str, Any]) -> int | None:
    """The first row of its table that a piece of evidence names, by its place; None where it names none."""
    rows = list(evidence["rows"])
    if not rows or evidence["table"] not in TABLES or not opens_alone(evidence["table"]):
        return None
    found = pages.table(evidence["table"]).index.get_indexer(pd.Index([rows[0]]))
    return int(found[0]) if found[0] >= 0 else None


def suspects(dump: Dump, pages: Pages) -> dict[str, Any]:
    """The leads, the weightiest first, each with the code that shows more."""
    table = pages.table("suspects")
    return {
        "count": len(table),
        "leads": [
            {
                "place": place,
                "lead": _text(row["lead"]),
                "subject": text.shorten(_text(row["subject"]), 240),
                "size": "" if pd.isna(row["bytes"]) else text.human_bytes(row["bytes"]),
                "share": "" if pd.isna(row["share"]) else text.percent(float(row["share"])),
                "evidence": text.shorten(_text(row["evidence"]), 400),
                "cell": _text(row["cell"]),
            }
            for place, row in enumerate(table.head(_MOST_LEADS).to_dict("records"))
        ],
        "problems": [text.shorten(_text(said), 400) for said in list(table.attrs.get("problems", ()))[:5]],
    }


def _text(value: Any) -> str:
    return "?" if pd.isna(value) else show_controls(str(value))
