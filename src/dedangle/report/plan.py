# SPDX-License-Identifier: Apache-2.0
"""The plan of a cleanup as text: for each finding the remedy, the reason, the evidence, and why it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dedangle.core.decisions import Finding, Remedy
from dedangle.core.run import Run
from dedangle.core.text import wrapped

_DEEDS = {
    Remedy.REMOVE_MAPPING: "soft-delete Nova's mapping {mapping} of volume {volume}",
    Remedy.REMOVE_ATTACHMENT: "delete Cinder's attachment {attachment} of volume {volume}",
    Remedy.RELINK_MAPPING: "let Nova's mapping {mapping} of volume {volume} name attachment {attachment}",
    Remedy.RESTORE_ATTACHMENT: "attach volume {volume} again, and let Nova's mapping {mapping} name the attachment",
    Remedy.ROLL_BACK_DETACH: "let Cinder roll back the detach of volume {volume}",
    Remedy.RESET_STATUS: "reset the status of volume {volume} to available",
    Remedy.NONE: "none, for volume {volume}",
}

_INDENT = "   "
_TITLE = 12
"""The width of the title of an item, in columns."""


def plan(run: Run, findings: Sequence[Finding], columns: int | None = None) -> str:
    """Return the plan, or its outcomes after it ran, one paragraph for each finding, wrapped to `columns` if given."""
    paragraphs = (_paragraph(number, finding, run, columns) for number, finding in enumerate(findings, 1))
    return "".join("\n" + "".join(f"{line}\n" for line in lines) for lines in paragraphs)


def _paragraph(number: int, finding: Finding, run: Run, columns: int | None) -> Iterator[str]:
    outcome = run.outcomes.get(finding.key)
    acts = finding.disposition.is_change
    fate = outcome.result.value if outcome else "to do" if acts else "kept"
    whose = f"server {finding.server_id}" if finding.server_id else f"volume {finding.volume_id}"
    yield from wrapped(f"{number}. {finding.code} of {whose}: {fate}", columns, "", _INDENT)
    items = [*_subject(finding, run.project_name(finding))]
    # A relink without an attachment is not possible.
    remedy = finding.remedy if finding.attachment or finding.remedy is not Remedy.RELINK_MAPPING else Remedy.NONE
    deed = _DEEDS[remedy].format(
        mapping=finding.bdm_uuid,
        volume=finding.volume_id,
        attachment=finding.attachment.id if finding.attachment else finding.attachment_id,
    )
    items += [("Remedy", deed), ("Why", finding.sentence)]
    items += [("" if number else "Evidence", fact) for number, fact in enumerate(finding.evidence)]
    if outcome and outcome.detail:
        items.append(("Outcome", outcome.detail))
    elif not outcome and finding.advice and not acts:
        items.append(("Decision", finding.advice))
    for title, text in items:
        yield from wrapped(text, columns, _title(title), _INDENT + " " * _TITLE)
    if not outcome:
        # Commands are not wrapped, so that they can be copied.
        yield from (f"{_title('' if number else 'Next')}{command}" for number, command in enumerate(finding.next))


def _subject(finding: Finding, project_name: str | None) -> Iterator[tuple[str, str]]:
    """Yield the names of the server and the volume, and what identifies them to their users."""
    host = f"on host {finding.host}" if finding.host else None
    size = None if finding.volume_size is None else f"{finding.volume_size} GiB"
    project_id = f"({finding.project_id})" if project_name else finding.project_id
    subjects = {
        "Server": (finding.server_name, finding.vm_state, host),
        "Volume": (finding.volume_name, size),
        "Project": (" ".join(filter(None, (project_name, project_id))),),
    }
    for title, known in subjects.items():
        if any(known):
            yield title, ", ".join(fact for fact in known if fact)


def _title(text: str) -> str:
    return f"{_INDENT}{text + ':' if text else '':<{_TITLE}}"
