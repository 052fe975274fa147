# SPDX-License-Identifier: Apache-2.0
"""Runs as they could have been, without a cloud."""

import dataclasses
import uuid

from dedangle.core.decisions import Disposition, Finding, Outcome, Remedy, Result, Verdict
from dedangle.core.findings import KINDS, TABLE
from dedangle.core.run import Run

HOSTILE = (
    "<img src=x onerror=pwned=1>",
    "<script>pwned=1</script>",
    '"><svg onload=pwned=1>',
    "</script><script>pwned=1</script>",
    "{{ 7 * 7 }}",
    '=HYPERLINK("http://127.0.0.1:9/?"&A1,"web-1")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\x1b[2J\x1b]0;pwned\x07",
    "safe\u202egnp.exe",
    "two\r\nlines\u2028here",
    "\ud800lone",
)
"""What tenants may call things."""


def run_of(*findings: Finding, **fields: object) -> Run:
    made = Run(run_id="0123456789ab", **fields)  # type: ignore[arg-type]
    made.add(findings)
    return made


def finding(code: str, number: int = 0, disposition: Disposition = Disposition.REPORT, **changes: object) -> Finding:
    """One of the table's codes, with ids that its number makes."""
    kind = KINDS[code]
    ids = {
        name: str(uuid.UUID(int=number * 4 + place)) for place, name in enumerate(("server", "volume", "attachment"))
    }
    ids |= {
        "other": str(uuid.UUID(int=number * 4 + 3)),
        "work": "event of attach_volume",
        "statuses": "the volume is detaching, and no mapping names an attachment",
        "beside": ids["attachment"],
        "host": "compute-1",
        "source": "/dev/sdb",
        "expected": "/dev/sdc",
        "connection": "the mount /mnt",
    }
    sentence, advice = kind.sentence.format(**ids), kind.advice.format(**ids)
    made = Finding(
        code=code,
        verdict=Verdict.DANGLING,
        remedy=kind.remedy,
        disposition=disposition,
        server_id=ids["server"],
        volume_id=ids["volume"],
        attachment_id=ids["attachment"],
        bdm_uuid=str(uuid.UUID(int=number * 4 + 3)),
        sentence=sentence,
        advice=advice,
        next=(f"openstack server stop {ids['server']}", f"dedangle cleanup {ids['server']} --no-host --execute"),
        cell=f"cell{number % 3}",
        host=f"compute-{number % 40}",
        project_id=uuid.UUID(int=number % 17).hex,
        evidence=(
            f"Nova cell{number % 3}: server {ids['server']} is active, host compute-{number % 40} (up)",
            f"Nova cell{number % 3}: mapping of volume {ids['volume']} names attachment {ids['attachment']}",
            f"Cinder: attachment {ids['attachment']} was not found, and the server's list does not have it",
            f"Cinder: volume {ids['volume']} is available",
        ),
        server_name=f"web-{number}",
        vm_state="active",
        volume_name=f"data-{number}",
        volume_size=number + 1,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def many(count: int) -> Run:
    """Findings of every code, in turn."""
    return run_of(*(finding(TABLE[number % len(TABLE)].code, number) for number in range(count)), paired=250_000)


def varied() -> Run:
    """A little of everything."""
    removed = finding("attachment-of-deleted-server", 1, Disposition.REMOVE)
    refused = finding("attachment-never-used", 2, Disposition.REMOVE)
    run = run_of(
        removed,
        refused,
        finding("mapping-without-attachment", 3),
        finding("mapping-without-attachment", 4),
        finding("mapping-of-deleted-server", 5, Disposition.REMOVE, advice="It can be removed.", next=()),
        finding("mapping-never-attached", 6, Disposition.WAIT),
        finding("mapping-without-attachment", 7, Disposition.PROTECT, verdict=Verdict.PROTECTED),
        finding("volume-in-use-elsewhere", 8, is_urgent=True),
        finding("attachment-unknown-owner", 9, verdict=Verdict.FOREIGN, cell=None, host=None),
        finding("link-mismatch", 10, verdict=Verdict.MISMATCH),
        paired=1234,
    )
    run.outcomes[removed.key] = Outcome(result=Result.REMOVED)
    run.outcomes[refused.key] = Outcome(result=Result.REFUSED, detail="Cinder answered 409: Nova still uses it")
    run.miss(["server 00000000-0000-0000-0000-00000000002a: Nova's cell2 did not answer in 60 s"])
    return run


def hostile() -> Run:
    """Every field that is somebody's text holds something that would act if it could."""
    return run_of(
        *(
            Finding(
                code="mapping-without-attachment",
                verdict=Verdict.DANGLING,
                remedy=Remedy.REMOVE_MAPPING,
                disposition=Disposition.REPORT,
                server_id=text,
                volume_id=text,
                attachment_id=text,
                bdm_uuid=text,
                cell=text,
                host=text,
                project_id=text,
                sentence=text,
                next=(f"dedangle cleanup {text}",),
                evidence=(text, f"Cinder: {text}"),
                server_name=text,
                vm_state=text,
                volume_name=text,
            )
            for text in HOSTILE
        ),
        not_checked=list(HOSTILE),
        troubles=list(HOSTILE),
    )
