"""What the hardware says of itself in the log: machine checks, memory, PCIe, heat."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

from kernlab.escape import show_controls, show_short
from kernlab.linux.whatis.threads import say_several
from kernlab.verdict.case import Case
from kernlab.verdict.finding import Evidence, Finding
from kernlab.verdict.machine_check import is_uncorrected, lost_context, part_of
from kernlab.verdict.registry import rule
from kernlab.verdict.reported import kernel_text

#: Findings of one kind that are told, those of the most lines first.
_MOST = 4
#: A panic for what the hardware said follows at once.
_AT_ONCE = 5.0
#: Panics whose reason is the hardware's (arch/x86/kernel/cpu/mce/core.c, mce_panic; drivers/acpi/apei/ghes.c,
#: __ghes_panic; drivers/edac/edac_mc.c, edac_ue_error; arch/x86/kernel/nmi.c; drivers/pci/pcie/aer.c).
_PANICS = re.compile(
    r"[Mm]achine check|Fatal hardware error|[Mm]emory error|Memory failure|EDAC MC|not syncing: UE |"
    r"NMI: (?:PCI|IOCK|Not continuing)|NMI IOCK error|entered broadcast exception handler|\bAER: "
)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What one line says: a finding, of what part, and the sentence; `times` is its own count, `fatal` that it may
    end the machine. One event that several CPUs tell has a `key`, and each line of it its `cpu`."""

    finding: str
    subject: str
    says: str
    fatal: bool = False
    device: str | None = None
    times: int = 1
    key: str = ""
    cpu: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """A line's form: a word that stands in each such line, the pattern, and what is made of it."""

    mark: str
    pattern: re.Pattern[str]
    made: Callable[[re.Match[str]], Said | None]


_CORRECTED = "corrected hardware error"


def _machine_check(line: re.Match[str]) -> Said:
    status = int(line["status"], 16)
    part = part_of(status)
    where = f"CPU {line['cpu']}" + (f": {part}" if part else "")
    cpu, key = int(line["cpu"]), f"bank {line['bank']}, status {status:#x}"
    if not is_uncorrected(status):
        return Said(_CORRECTED, where, f"CPU {line['cpu']}, bank {line['bank']}: corrected")
    context = ", and the processor's state is lost" if lost_context(status) else ""
    said = f"CPU {cpu}, {key}: not corrected{context}"
    # Machine checks go to all CPUs, and each that shares the bank tells the same.
    return Said("machine check", where, said, fatal=True, key=key, cpu=cpu)


def _of_memory(line: re.Match[str]) -> Said:
    where, times = line["where"].strip(), int(line["times"] or 1)
    if line["what"] == "UE":
        return Said(
            "memory failure",
            where,
            f"memory error that was not corrected on {where}",
            fatal=True,
            times=times,
        )
    return Said(_CORRECTED, where, f"memory error on {where}, corrected", times=times)


def _of_pcie(line: re.Match[str]) -> Said:
    device, severity = line["device"], line["severity"].lower()
    subject = f"{device} ({line['driver']})"
    if severity.startswith("correct"):
        return Said(_CORRECTED, subject, f"PCIe error of {device}, corrected: {line['type']}", device=device)
    return Said(
        "PCIe error",
        subject,
        f"PCIe error of {device}, {severity}: {line['type']}",
        "(fatal" in severity,
        device,
    )


def _of_heat(line: re.Match[str]) -> Said | None:
    if line["how"].startswith("power"):
        return None
    return Said(
        "overheating", f"CPU {line['cpu']}", f"CPU {line['cpu']} was throttled, {line['times']} times by then"
    )


def _of_page(line: re.Match[str]) -> Said:
    return Said(
        "memory failure", "pages of memory", f"page {line['page']}: {line['said'].strip()}", fatal=True
    )


FORMS = (
    # arch/x86/kernel/cpu/mce/core.c, __print_mce.
    Form(
        "Bank ",
        re.compile(
            r"(?:mce: )?\[Hardware Error\]: CPU (?P<cpu>\d{1,5}): Machine Check[^:]{0,20}: [0-9a-f]{1,16} "
            r"Bank (?P<bank>\d{1,3}): (?P<status>[0-9a-f]{8,16})"
        ),
        _machine_check,
    ),
    # drivers/edac/mce_amd.c, amd_decode_mce.
    Form(
        "_STATUS[",
        re.compile(
            r"(?:mce: )?\[Hardware Error\]: CPU:(?P<cpu>\d{1,5}) \([^)]{1,20}\) MC(?P<bank>\d{1,3})"
            r"_STATUS\[[^\]]{0,80}\]: 0x(?P<status>[0-9a-f]{8,16})"
        ),
        _machine_check,
    ),
    # drivers/edac/edac_mc.c, edac_ce_error and edac_ue_error.
    Form(
        "EDAC ",
        re.compile(
            r"EDAC (?:\w{1,20} )?MC\d{1,3}: (?P<times>\d{1,9})? ?(?P<what>CE|UE) "
            r"[^\n]{0,120}?\bon (?P<where>[^\n(]{1,120}) \("
        ),
        _of_memory,
    ),
    # drivers/pci/pcie/aer.c, aer_print_error.
    Form(
        "PCIe Bus Error: severity=",
        re.compile(
            r"(?P<driver>\S{1,64}) (?P<device>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): (?:AER: )?PCIe Bus Error: "
            r"severity=(?P<severity>[^,]{1,40}), type=(?P<type>[^,\n]{1,40})"
        ),
        _of_pcie,
    ),
    # drivers/thermal/intel/therm_throt.c.
    Form(
        "above threshold",
        re.compile(
            r"(?:mce: )?CPU(?P<cpu>\d{1,5}): (?:Core|Package) (?P<how>temperature|power limit)(?: is)? "
            r"above threshold, cpu clock (?:is )?throttled \(total events = (?P<times>\d{1,12})\)"
        ),
        _of_heat,
    ),
    # drivers/thermal/thermal_core.c, handle_critical_trips.
    Form(
        "critical temperature reached",
        re.compile(
            r"thermal (?P<zone>thermal_zone\d{1,4}): (?P<said>[^\n]{0,80}critical temperature reached[^\n]{0,80})"
        ),
        lambda line: Said("overheating", line["zone"], f"{line['zone']}: {line['said']}", fatal=True),
    ),
    # mm/memory-failure.c.
    Form(
        "Memory failure: 0x",
        re.compile(r"Memory failure: (?P<page>0x[0-9a-f]{1,16}): (?P<said>[^\n]{1,200})"),
        _of_page,
    ),
    # arch/x86/kernel/nmi.c, pci_serr_error and io_check_error.
    Form(
        "NMI: ",
        re.compile(
            r"NMI: (?P<what>PCI system error \(SERR\)|IOCK error)[^\n]{0,80}? on CPU (?P<cpu>\d{1,5})"
        ),
        lambda line: Said("hardware error", line["what"], line[0], fatal=True),
    ),
)


@rule
def reported_errors(case: Case) -> Iterator[Finding]:
    """What the hardware reports of itself is true; it ended the machine where the panic says so at once."""
    found: dict[tuple[str, str], list[tuple[int, Said]]] = {}
    text = kernel_text(case)
    for form in FORMS:
        for label in text.index[text.str.contains(form.mark, regex=False)]:
            match = form.pattern.match(text[label])
            said = form.made(match) if match else None
            if said is not None:
                found.setdefault((said.finding, said.key or said.subject), []).append((int(label), said))
    told: dict[str, int] = {}
    for (finding, _), lines in sorted(found.items(), key=lambda each: -len(each[1])):
        told[finding] = told.get(finding, 0) + 1
        if told[finding] <= _MOST:
            yield _told(case, lines)


def _told(case: Case, lines: list[tuple[int, Said]]) -> Finding:
    first, last = lines[0][1], lines[-1][1]
    labels = tuple(label for label, _ in lines[:100])
    times = sum(said.times for _, said in lines)
    evidence = [Evidence("log", show_controls(first.says), labels)]
    cpus = list(dict.fromkeys(said.cpu for _, said in lines if said.cpu is not None))
    subject = last.subject
    if len(cpus) > 1:
        evidence.append(Evidence("log", f"{len(cpus):,} CPUs tell it", labels))
        subject = say_several([f"CPU {cpu}" for cpu in cpus]) + last.subject.removeprefix(f"CPU {last.cpu}")
    elif times > 1:
        evidence.append(Evidence("log", f"{times:,} times in this log", labels))
    since = case.before_end(case.log.loc[labels[0], "timestamp"])
    final = case.before_end(case.log.loc[lines[-1][0], "timestamp"])
    end = case.end
    ended = (
        any(said.fatal for _, said in lines)
        and bool(_PANICS.search(end.panic))
        and (final is None or final <= _AT_ONCE)
    )
    against = ["The hardware corrected it."] if first.finding == _CORRECTED else []
    if not ended and end.report is not None:
        against.append("Nothing shows that the end has to do with it.")
    return Finding(
        last.finding,
        show_short(subject),
        0.97 if ended else 0.9,
        tuple(evidence),
        f"dump.log.loc[{list(labels[:20])}]",
        device=last.device,
        against=tuple(against),
        explains=frozenset({end.kind}) if ended else frozenset(),
        since=since,
    )


#: drivers/firmware/efi/cper.c, cper_estatus_print: the lines of one record begin with its number.
_RECORD = re.compile(r"(?:\{(?P<record>\d{1,10})\})\[Hardware Error\]: (?P<said>[^\n]{1,200})")
_FIELD = re.compile(
    r"\s*(?P<name>event severity|section_type|error_type|DIMM location|device_id|node|physical_address): (?P<value>.+)"
)


@rule
def firmware_records(case: Case) -> Iterator[Finding]:
    """A record of an error that the firmware hands to the kernel (APEI) says what part failed and how badly."""
    text = kernel_text(case)
    records: dict[str, list[tuple[int, str]]] = {}
    for label in text.index[text.str.contains("}[Hardware Error]: ", regex=False)]:
        for line in text[label].splitlines():
            if found := _RECORD.match(line):
                records.setdefault(found["record"], []).append((int(label), found["said"]))
    for lines in list(records.values())[-_MOST:]:
        fields: dict[str, str] = {}
        for _, said in lines:
            if found := _FIELD.match(said):
                fields.setdefault(found["name"], found["value"].strip())
        severity = fields.get("event severity", "")
        if not severity or severity == "info":
            continue
        device = fields.get("device_id")
        part = fields.get("section_type", "hardware")
        where = fields.get("DIMM location") or device or part
        if "not present" in where:
            where = part
        final = case.before_end(case.log.loc[lines[-1][0], "timestamp"])
        ended = (
            severity == "fatal"
            and bool(_PANICS.search(case.end.panic))
            and (final is None or final <= _AT_ONCE)
        )
        labels = tuple(dict.fromkeys(label for label, _ in lines))[:100]
        kind = f", {fields['error_type'].partition(', ')[2]}" if ", " in fields.get("error_type", "") else ""
        against = ["The hardware corrected it."] if severity == "corrected" else []
        if not ended and case.end.report is not None:
            against.append("Nothing shows that the end has to do with it.")
        finding = "memory failure" if part == "memory error" else "PCIe error" if device else "hardware error"
        if severity == "corrected":
            finding = _CORRECTED
        yield Finding(
            finding,
            show_short(where),
            0.97 if ended else 0.9,
            (
                Evidence(
                    "log", show_controls(f"the firmware reported a {severity} error: {part}{kind}"), labels
                ),
            ),
            f"dump.log.loc[{list(labels[:20])}]",
            device=device,
            against=tuple(against),
            explains=frozenset({case.end.kind}) if ended else frozenset(),
            since=case.before_end(case.log.loc[lines[0][0], "timestamp"]),
        )
