# SPDX-License-Identifier: Apache-2.0
"""The plan for a server in words: what would be done, why, on which evidence, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dedangle.core.decisions import Finding, Outcome, Remedy
from dedangle.core.run import Run
from dedangle.core.text import harmless

_DEEDS = {
    Remedy.REMOVE_MAPPING: "soft-delete Nova's mapping {mapping} of volume {volume}",
    Remedy.REMOVE_ATTACHMENT: "delete Cinder's attachment {attachment} of volume {volume}",
    Remedy.RELINK_MAPPING: "let Nova's mapping {mapping} of volume {volume} name attachment {attachment}",
    Remedy.RESTORE_ATTACHMENT: "attach volume {volume} again, and let Nova's mapping {mapping} name the attachment",
    Remedy.ROLL_BACK_DETACH: "let Cinder roll the detach of volume {volume} back",
    Remedy.RESET_STATUS: "reset the status of volume {volume} to available",
    Remedy.NONE: "none, for volume {volume}",
}


def plan(run: Run, findings: Sequence[Finding]) -> str:
    """The whole plan, or what came of it, one paragraph for each finding."""
    paragraphs = (_paragraph(number, each, run.outcomes.get(each.key)) for number, each in enumerate(findings, 1))
    return "".join("\n" + "".join(f"{line}\n" for line in each) for each in paragraphs)


def _paragraph(number: int, finding: Finding, outcome: Outcome | None) -> Iterator[str]:
    acts = finding.disposition.is_change
    fate = outcome.result.value if outcome else "to do" if acts else "kept"
    whose = f"server {finding.server_id}" if finding.server_id else f"volume {finding.volume_id}"
    yield f"{number}. {finding.code} of {whose}: {fate}"
    yield from _subject(finding)
    # Without the one attachment that it could name there is nothing to relink a mapping to.
    remedy = finding.remedy if finding.attachment or finding.remedy is not Remedy.RELINK_MAPPING else Remedy.NONE
    deed = _DEEDS[remedy].format(
        mapping=finding.bdm_uuid,
        volume=finding.volume_id,
        attachment=finding.attachment.id if finding.attachment else finding.attachment_id,
    )
    yield _item("Remedy", deed)
    yield _item("Why", finding.sentence or finding.reason)
    for number, fact in enumerate(finding.evidence):
        yield _item("" if number else "Evidence", fact)
    if outcome and outcome.detail:
        yield _item("Outcome", outcome.detail)
    elif not outcome and finding.advice and not acts:
        yield _item("In the way", finding.advice)
    if not outcome:
        for number, command in enumerate(finding.next):
            yield _item("" if number else "Next", command)


def _subject(finding: Finding) -> Iterator[str]:
    """Say which server and volume it is in the words of those who use them."""
    host = f"on host {finding.host}" if finding.host else None
    project = f"project {finding.project_id}" if finding.project_id else None
    size = None if finding.volume_size is None else f"{finding.volume_size} GiB"
    subjects = {
        "Server": (finding.server_name, finding.vm_state, host, project),
        "Volume": (finding.volume_name, size),
    }
    for title, known in subjects.items():
        if any(known):
            # A line end in a name would begin a line that looks like ours.
            yield _item(title, harmless(", ".join(each for each in known if each)))


def _item(title: str, text: str) -> str:
    # Never wrapped: ids and commands are there to be copied.
    return f"   {title + ':' if title else '':<12}{text}"
