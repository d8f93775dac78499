"""A few figures of a table as a line of JSON: where both sides print the same, they did the same work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def task_figures(tasks: pd.DataFrame) -> str:
    return json.dumps(
        {
            "rows": len(tasks),
            "pids": int(tasks["pid"].sum()),
            "parents": int(tasks["ppid"].sum()),
            "vsz_bytes": int(tasks["vsz_bytes"].sum()),
            "rss_bytes": int(tasks["rss_bytes"].sum()),
            "kthreads": int(tasks["kthread"].sum()),
            "start_ns": int(tasks["start_time"].astype("timedelta64[ns]").astype("int64").sum()),
            "states": "".join(sorted(tasks["state"])),
        }
    )


def stack_figures(stacks: pd.DataFrame) -> str:
    # Of several symbols at one address drgn may take another one.
    return json.dumps(
        {
            "rows": len(stacks),
            "threads": int(stacks["task"].nunique()),
            "pids": int(stacks["pid"].sum()),
            "frames": int(stacks["frame"].sum()),
            "addresses": int(stacks["address"].to_numpy(dtype="uint64").sum()),
            "pointers": int(stacks["sp"].to_numpy(dtype="uint64").sum()),
        }
    )


def slab_figures(slabs: pd.DataFrame) -> str:
    # active is left out: drgn counts it as slabinfo does, kernlab through the per-CPU freelists.
    return json.dumps(
        {
            "rows": len(slabs),
            "slabs": int(slabs["slabs"].sum()),
            "objects": int(slabs["objects"].sum()),
            "bytes": int(slabs["bytes"].sum()),
        }
    )


def map_figures(maps: pd.DataFrame) -> str:
    return json.dumps(
        {
            "rows": len(maps),
            "size_bytes": int(maps["size_bytes"].sum()),
            "writable": int(maps["perms"].str.contains("w").sum()),
            "inodes": int(maps["inode"].sum()),
            "named": int((maps["path"] != "").sum()),
        }
    )


def file_figures(files: pd.DataFrame) -> str:
    return json.dumps(
        {
            "rows": len(files),
            "descriptors": int(files["fd"].sum()),
            "positions": int(files["position_bytes"].sum()),
            "inodes": int(files["inode"].sum()),
            "writable": int(files["mode"].str.contains("w").sum()),
            "below_root": int((files["path"].str.startswith("/dev/")).sum()),
        }
    )


def page_figures(pages: pd.DataFrame) -> str:
    # kernlab lists frames of memory only; page structs of holes are there, too, and all zero or reserved.
    used = pages[pages["refcount"] > 1]
    return json.dumps(
        {
            "used": len(used),
            "refcounts": int(used["refcount"].sum()),
            "mapped": int((used["mapcount"] > 0).sum()),
        }
    )


def object_figures(objects: pd.DataFrame) -> str:
    if "allocated" in objects:
        objects = objects[objects["allocated"]]
    address = objects["address"].to_numpy(dtype="uint64")
    return json.dumps(
        {"rows": len(objects), "caches": int(objects["cache"].nunique()), "addresses": int(address.sum())}
    )


def usage_figures(maps: pd.DataFrame) -> str:
    # The pages of [vvar] are mapped, but no memory of the process: follow_phys finds them, smaps does not count them.
    resident = maps["rss_bytes"].astype("int64")
    return json.dumps({"rows": len(maps), "above 64 KiB": int(resident[resident > 1 << 16].sum())})


def search_figures(places: pd.DataFrame) -> str:
    if "cache" not in places:
        # kernlab names what else there is, too.
        places = places.assign(cache=places["name"].where(places["kind"] == "slab object"))
    address = places["address"].to_numpy(dtype="uint64")
    return json.dumps(
        {
            "rows": len(places),
            "addresses": int(address.sum()),
            "caches": places["cache"].value_counts().sort_index().to_dict(),
        }
    )


def socket_figures(sockets: pd.DataFrame) -> str:
    # kernlab's have what no process has open, too.
    held = sockets[sockets["pid"].notna()]
    return json.dumps(
        {
            "rows": len(held),
            "addresses": int(held["address"].to_numpy(dtype="uint64").sum()),
            "inodes": int(held["inode"].sum()),
            "pids": int(held["pid"].sum()),
            "descriptors": int(held["fd"].sum()),
            "rmem_bytes": int(held["rmem_bytes"].sum()),
            "wmem_bytes": int(held["wmem_bytes"].sum()),
            "peers": int(held["peer"].fillna(0).to_numpy(dtype="uint64").sum()),
        }
    )
