# SPDX-License-Identifier: Apache-2.0
"""Words that readers stumble over, each with what to write instead."""

import re
from collections.abc import Mapping

REPLACED = {
    r"came to nothing": "failed",
    r"none of ours": "not dedangle's",
    r"span of time": "duration",
    r"(?:host|cell|service)'s word": "proof from the host",
    r"on (?:the|its|their|an operator's) word": "because ... says so",
    r"mend(?:s|ed|ing)?": "fix",
    r"spoil(?:s|t|ed)?": "break",
    r"who(?:so)?ever": "everybody who",
    r"what came of": "the outcome of",
    r"in place of": "instead of",
    r"besides": "in addition",
    r"(?:is|are) to be": "must be",
    r"on (?:its|their) way": "in progress",
    r"leavings": "what is left over",
    r"of our own": "of its own",
    r"has no bearing on": "does not change",
    r"in (?:\w+ )?fingers": "expect",
    r"for ever": "permanently",
    r"(?:host|cell|database|Nova|Cinder) (?:tells|says its|is told)": "reports",
    r"what is doomed": "what will be removed",
    r"for want of": "because ... is missing",
    r"thereby|thereof|therein|whereby": "so",
}
# Words of messages, docstrings and comments; on a page they are rarely wrong.
REPLACED_IN_SOURCE = {
    **REPLACED,
    r"anew": "again",
    r"let(?:s|ting)? go of?": "delete, release",
    r"left-over": "dangling, unused",
    r"in vain": "without a result",
    r"has no trace": "has no record",
    r"(?:is|are|was|were) told": "reports, receives",
    r"tells (?:which|whether|how|what|of)": "returns, shows",
    r"none of its": "not its",
    r"beyond suspicion": "consistent",
    r"vouch(?:es)?": "state",
    r"nobody out|keeps? out": "locks out",
    r"comes? to an end": "ends",
    r"the same holds": "this is also so",
}


def stumbling(text: str, words: Mapping[str, str] = REPLACED) -> dict[str, str]:
    """Return the words of the text that must be replaced, each with what to write instead."""
    return {word: instead for word, instead in words.items() if re.search(rf"\b(?:{word})\b", text, re.IGNORECASE)}


def sentences(block: str) -> list[str]:
    """Split a paragraph; a full stop inside code or an address ends no sentence."""
    plain = re.sub(r"\]\([^)]*\)", "]", block)
    plain = re.sub(r"`[^`]*`", "CODE", plain)
    return [each for each in re.split(r"(?<=[.!?])[*)\]\"']*\s+", plain) if each]
