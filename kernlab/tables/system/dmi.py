"""What the firmware says of the machine: vendor, product, BIOS, board, chassis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kernlab.core.kernel import Kernel
from kernlab.dataframes import describe, table
from kernlab.debuginfo.types import EnumType
from kernlab.util.addresses import wrapped
from kernlab.walk.strings import c_strings

# include/linux/mod_devicetable.h, enum dmi_field: these are no strings of their own.
_NO_FIELDS = ("DMI_NONE", "DMI_STRING_MAX", "DMI_OEM_STRING")
#: A string of SMBIOS is no longer (drivers/firmware/dmi_scan.c, dmi_string_nosave, of a structure's 64 KiB).
_LONGEST = 1 << 16


@table
def dmi(kernel: Kernel) -> pd.Series[Any]:
    """A Series (str) by the names in /sys/class/dmi/id: bios_vendor, sys_vendor, product_name, board_name …

    What the firmware does not say is missing, '' is what it left empty. Serial numbers, UUIDs and asset tags are others
    in a redacted dump. Mirrors drivers/firmware/dmi_scan.c (dmi_ident) and dmi-id.c.

    >>> dump.dmi[["sys_vendor", "product_name", "bios_version"]]
    sys_vendor                                   QEMU
    product_name    Standard PC (i440FX + PIIX, 1996)
    bios_version               1.16.2-debian-1.16.2-1
    Name: dmi, dtype: str
    """
    fields = kernel.types.get("enum dmi_field")
    named = fields.enumerators if isinstance(fields, EnumType) else {}
    known = sorted((number, name) for name, number in named.items() if name not in _NO_FIELDS)
    start = kernel.find_symbol("dmi_ident")
    if start is None or not known:
        kernel.lost("this kernel does not read what the firmware says of the machine (CONFIG_DMI)")
        values: list[str | None] = [None] * len(known)
    else:
        where = wrapped(start) + np.array([number for number, _ in known], dtype=np.uint64) * np.uint64(8)
        pointer, read = kernel.words(where, what="fields of dmi_ident")
        values = c_strings(kernel, np.where(read, pointer, np.uint64(0)), _LONGEST).tolist()
    found: pd.Series[Any] = pd.Series(
        pd.array([np.nan if value is None else value for value in values], dtype="str"),
        index=pd.Index([name.removeprefix("DMI_").lower() for _, name in known], dtype="str"),
        name="dmi",
    )
    found.attrs.update(describe(kernel, "dmi"))
    return found
