"""What the hardware says of itself, in the formats that the kernel prints it in."""

from __future__ import annotations

import pandas as pd
import pytest
from verdict.asked import ENDS
from verdict.cases import found_by, made_case, verdict_of

from kernlab.verdict.case import Case
from kernlab.verdict.finding import Finding
from kernlab.verdict.machine_check import is_uncorrected, part_of
from kernlab.verdict.rules.faulty_pages import poisoned_pages
from kernlab.verdict.rules.hardware import firmware_records, reported_errors

# arch/x86/kernel/cpu/mce/core.c, print_mce and mce_panic.
_FATAL = """\
[  500.000000] [     C4] mce: [Hardware Error]: CPU 4: Machine Check Exception: 5 Bank 0: b200000000070005
[  500.000000] [     C4] mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff81a2b3c4> {mwait_idle+0x64/0x80}
[  500.000000] [     C4] mce: [Hardware Error]: TSC 3a7c3b2ed0
[  500.000000] [     C4] mce: [Hardware Error]: PROCESSOR 0:306c3 TIME 1417455300 SOCKET 0 APIC 4 microcode 1c
[  500.000000] [     C4] mce: [Hardware Error]: Run the above through 'mcelog --ascii'
[  500.000000] [     C4] mce: [Hardware Error]: Machine check: Processor context corrupt
[  500.000000] [     C4] Kernel panic - not syncing: Fatal machine check
"""
_CORRECTED = (
    "[  {at}.000000] [      C2] mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 7: 8c00004000010090\n"
)
# drivers/firmware/efi/cper.c and drivers/acpi/apei/ghes.c.
_FIRMWARE = """\
[  700.000000] [      C0] {{1}}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0
[  700.000000] [      C0] {{1}}[Hardware Error]: event severity: {severity}
[  700.000000] [      C0] {{1}}[Hardware Error]:  Error 0, type: {severity}
[  700.000000] [      C0] {{1}}[Hardware Error]:   section_type: memory error
[  700.000000] [      C0] {{1}}[Hardware Error]:   physical_address: 0x0000000812345680
[  700.000000] [      C0] {{1}}[Hardware Error]:   node:0 card:1 module:0 rank:1 bank:3 device:0 row:1234 column:560
[  700.000000] [      C0] {{1}}[Hardware Error]:   error_type: 3, multi-bit ECC
[  700.000000] [      C0] {{1}}[Hardware Error]:   DIMM location: CPU1 DIMM_A1
"""
_SYSRQ = """\
[  900.000000] [      T1] sysrq: Trigger a crash
[  900.000000] [      T1] Kernel panic - not syncing: sysrq triggered crash
"""


def _found(log: str) -> list[Finding]:
    return verdict_of(Case(None, log), *ENDS, reported_errors, firmware_records)


def test_a_machine_check_that_the_machine_died_of() -> None:
    """The bank's status says what part it was; no thread is to blame."""
    first, end = _found(_FATAL)
    assert (first.finding, first.subject, first.role) == (
        "machine check",
        "CPU 4: parity within the processor",
        "cause",
    )
    assert (first.confidence, first.pid, first.function) == (0.97, None, None)
    assert "not corrected, and the processor's state is lost" in first.evidence[0].says
    assert (end.finding, end.role) == ("hardware error", "end")


def test_errors_that_were_corrected_are_counted_beside() -> None:
    """A machine that reports some now and then dies of something else."""
    found = _found("".join(_CORRECTED.format(at=at) for at in range(600, 650)) + _SYSRQ)
    assert [each.finding for each in found] == ["sysrq", "corrected hardware error"]
    assert found[1].subject == "CPU 2: the memory controller"
    assert "50 times in this log" in [each.says for each in found[1].evidence]
    assert found[1].role == "beside"
    assert found[1].since == pytest.approx(300)


@pytest.mark.parametrize("at", ["900.000000", "501.000000"])
def test_a_machine_check_that_was_survived_is_no_cause(at: str) -> None:
    """The machine was ended by somebody, and that was long after it or soon."""
    survived = _FATAL.rpartition("[  500.000000] [     C4] Kernel panic")[0]
    found = _found(survived + _SYSRQ.replace("900.000000", at))
    assert [(each.finding, each.role) for each in found] == [("sysrq", "end"), ("machine check", "beside")]
    assert "Nothing shows that the end has to do with it." in found[1].against


@pytest.mark.parametrize(
    ("status", "uncorrected", "part"),
    [
        (0xB200000000070005, True, "parity within the processor"),
        (0xBE00000000800400, True, "a timer within the processor ran out"),
        (0x8C00004000010090, False, "the memory controller"),
        (0xBD80000000100134, True, "a cache of the processor"),
        (0xF200000000000E0B, True, "input and output"),
        (0xF200004000000800, True, "the bus between processors and memory"),
        (0x8000000000000019, False, "a TLB of the processor"),
        (0x8000000000007777, False, ""),
    ],
)
def test_status_registers(status: int, uncorrected: bool, part: str) -> None:
    """By the architecture's codes (Intel SDM volume 3B)."""
    assert (is_uncorrected(status), part_of(status)) == (uncorrected, part)


@pytest.mark.parametrize(
    ("severity", "panic"), [("fatal", True), ("corrected", False), ("recoverable", False)]
)
def test_records_of_the_firmware(severity: str, panic: bool) -> None:
    """Which DIMM it was, and whether the machine died of it."""
    end = "[  700.000001] [      C0] Kernel panic - not syncing: Fatal hardware error!\n" if panic else _SYSRQ
    found = _found(_FIRMWARE.format(severity=severity) + end)
    told = next(each for each in found if each.subject == "CPU1 DIMM_A1")
    said = f"the firmware reported a {severity} error: memory error, multi-bit ECC"
    assert said in [each.says for each in told.evidence]
    assert told.finding == ("corrected hardware error" if severity == "corrected" else "memory failure")
    assert told.role == ("cause" if panic else "beside")
    assert [each.finding for each in found if each.role == "end"] == ["hardware error" if panic else "sysrq"]
    assert found[0].role == ("cause" if panic else "end")


@pytest.mark.parametrize(
    ("line", "finding", "subject", "device"),
    [
        (
            "EDAC MC0: 3 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x1 offset:0x0)",
            *("corrected hardware error", "CPU_SrcID#0_Ha#0_Chan#1_DIMM#0", None),
        ),
        (
            "EDAC MC1: 1 UE memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#1 (channel:0 slot:1 page:0x1 offset:0x0)",
            *("memory failure", "CPU_SrcID#1_MC#0_Chan#0_DIMM#1", None),
        ),
        (
            "nvme 0000:01:00.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer, (Receiver ID)",
            *("PCIe error", "0000:01:00.0 (nvme)", "0000:01:00.0"),
        ),
        (
            "pcieport 0000:00:1c.5: AER: PCIe Bus Error: severity=Corrected, type=Physical Layer, id=00e5(Receiver ID)",
            *("corrected hardware error", "0000:00:1c.5 (pcieport)", "0000:00:1c.5"),
        ),
        (
            "mce: CPU3: Core temperature above threshold, cpu clock throttled (total events = 17)",
            *("overheating", "CPU 3", None),
        ),
        (
            "CPU3: Package temperature is above threshold, cpu clock is throttled (total events = 17)",
            *("overheating", "CPU 3", None),
        ),
        (
            "thermal thermal_zone0: acpitz: critical temperature reached, shutting down",
            *("overheating", "thermal_zone0", None),
        ),
        (
            "Memory failure: 0x7a5e3: recovery action for dirty LRU page: Recovered",
            *("memory failure", "pages of memory", None),
        ),
        (
            "NMI: PCI system error (SERR) for reason b1 on CPU 0.",
            *("hardware error", "PCI system error (SERR)", None),
        ),
        (
            "[Hardware Error]: CPU:2 (17:71:0) MC0_STATUS[-|UE|MiscV|AddrV|-|-|-|SyndV|UECC|-|-|-]: 0xbc00000000000135",
            *("machine check", "CPU 2: a cache of the processor", None),
        ),
    ],
)
def test_lines(line: str, finding: str, subject: str, device: str | None) -> None:
    """Each in its own words, told beside an end that is another one."""
    found = found_by(Case(None, f"[  600.000000] {line}\n" + _SYSRQ), reported_errors)
    assert [(each.finding, each.subject, each.device) for each in found] == [(finding, subject, device)]
    assert found[0].confidence == 0.9
    assert not found[0].explains


@pytest.mark.parametrize(
    "line",
    [
        "mce: CPU0: Thermal monitoring enabled (TM1)",
        "CPU3: Core power limit above threshold, cpu clock throttled (total events = 3)",
        "EDAC MC: Ver: 3.0.0",
        "RAS: Correctable Errors collector initialized.",
        "pcieport 0000:00:1c.5: AER: enabled with IRQ 122",
        "HEST: Table parsing has been initialized.",
        "mce: using 9 MCE banks",
    ],
)
def test_lines_of_a_healthy_machine(line: str) -> None:
    """What every boot says."""
    case = Case(None, f"[    1.000000] {line}\n" + _SYSRQ)
    assert not found_by(case, reported_errors, firmware_records)


@pytest.mark.parametrize(
    ("counted", "marked", "sure"),
    [
        (8192, 8192, 0.9),
        # A huge page of hugetlbfs counts by the part that is faulty.
        (4096, 2 << 20, 0.9),
        # A count or marks that are damaged: neither bears out the other.
        (8192, 0, 0.45),
        (1 << 62, 8192, 0.45),
        (4096, 176_793 << 12, 0.45),
        (0, 8192, None),
        (pd.NA, 8192, None),
    ],
)
def test_pages_that_were_found_faulty(counted: object, marked: int, sure: float | None) -> None:
    """/proc/meminfo counts them, where the log is over by now; the pages themselves are marked."""
    kinds = pd.DataFrame({"kind": ["free", "hwpoison"], "bytes": pd.array([1 << 30, marked], dtype="Int64")})
    case = made_case(_SYSRQ, meminfo=pd.Series({"HardwareCorrupted": counted}, dtype="Int64"), kinds=kinds)
    rows = found_by(case, poisoned_pages)
    assert [each.confidence for each in rows] == ([] if sure is None else [sure])
    for each in rows:
        assert (each.evidence[-1].table == "memory") == (sure == 0.9)
        assert (len(each.against) == 2) == (sure != 0.9)


def test_one_machine_check_that_all_cpus_tell_is_one_cause() -> None:
    """It is sent to all of them."""
    lines = _FATAL.splitlines(keepends=True)
    place, said = next((place, line) for place, line in enumerate(lines) if "Bank" in line)
    others = [said.replace("CPU 4:", f"CPU {cpu}:") for cpu in range(5, 9)]
    found = _found("".join(lines[: place + 1] + others + lines[place + 1 :]))
    assert [(each.finding, each.role) for each in found] == [
        ("machine check", "cause"),
        ("hardware error", "end"),
    ]
    assert found[0].subject == "CPU 4 and 4 others: parity within the processor"
    assert "5 CPUs tell it" in [each.says for each in found[0].evidence]
    assert not found[0].against
    assert (found[1].pid, found[1].function) == (None, None)


@pytest.mark.parametrize(
    ("said", "panic"),
    [
        ("NMI: PCI system error (SERR) for reason b1 on CPU 0.", "NMI: Not continuing"),
        ("NMI: IOCK error (debug interrupt?) for reason 61 on CPU 0.", "NMI IOCK error: Not continuing"),
    ],
)
def test_an_nmi_that_a_device_sent(said: str, panic: str) -> None:
    """arch/x86/kernel/nmi.c, pci_serr_error and io_check_error: the reason is known."""
    log = f"[   90.000000] {said}\n[   90.000010] Kernel panic - not syncing: {panic}\n"
    first, end = _found(log + "[   90.000020] CPU: 0 PID: 700 Comm: java Not tainted 6.1.0-test #1\n")
    assert (first.finding, first.role, end.role) == ("hardware error", "cause", "end")
    assert (end.finding, end.pid, end.subject) == ("hardware error", None, panic)


def test_what_a_machine_check_is_not_of() -> None:
    """What was corrected just before, and what was not corrected long before."""
    soft = _CORRECTED.format(at=499)
    old = _FATAL.splitlines(keepends=True)[0].replace("500.000000", "400.000000").replace("070005", "070001")
    found = _found(old + soft + _FATAL)
    causes = [each for each in found if each.role == "cause"]
    assert [each.subject for each in causes] == ["CPU 4: parity within the processor"]
    beside = {each.finding for each in found if each.role == "beside"}
    assert beside == {"machine check", "corrected hardware error"}
