"""The loaders' figures in sentences: our loader against the peers that have what it has."""

from typing import Any

from tables import OUR_MAIN, WITHOUT_INDEX, ratios

FORMS = {"stored": "files as downloaded", "intra": "all-intra files"}


def in_words(result: dict[str, Any]) -> str:
    """Returns sentences; none where our loader or the peers are missing."""
    rows = [row for row in result.get("loaders", []) if "clips_per_s" in row]
    sentences = []
    for group, name in (("Without an index", OUR_MAIN[0]), ("With an index", OUR_MAIN[1])):
        for form in dict.fromkeys(row["form"] for row in rows):
            here = [row for row in rows if row["form"] == form]
            ours = next((row for row in here if row["name"] == name), None)
            peers = [row for row in here if not row["ours"] and (row["index"] in WITHOUT_INDEX) == (name == OUR_MAIN[0])]
            if ours and peers:
                sentences.append(f"{group}, {FORMS.get(form, form)}: {against(ours, peers)}.")
    across = ratios(result).get(f"{OUR_MAIN[0]} on intra against decord on stored")
    if across:
        sentences.append(f"Without an index, transcoded for c2d-fast, as downloaded for decord: {across:.1f} times.")
    return " ".join(sentences)


def against(ours: dict[str, Any], peers: list[dict[str, Any]]) -> str:
    """Returns which peers are faster than our loader; and of the others how it stands to decord, and to the fastest."""
    rate = ours["clips_per_s"]
    ranked = sorted(peers, key=lambda peer: -peer["clips_per_s"])
    faster = [peer for peer in ranked if peer["clips_per_s"] > rate]
    told = [f"{short(peer)} ({peer['clips_per_s'] / rate:.2f} times its clips{overlap(ours, peer)})" for peer in faster]
    parts = [f"**faster than c2d-fast** {'are' if told[1:] else 'is'} {', '.join(told)}"] if told else []
    times = []
    for peer in ranked[len(faster) :]:
        if peer is ranked[len(faster)] or peer["name"].startswith("decord "):
            notes = ["the fastest peer"] if peer is ranked[0] and len(peers) > 1 else []
            notes += [text.removeprefix(", ")] if (text := overlap(ours, peer)) else []
            note = f" ({', '.join(notes)})" if notes else ""
            times.append(f"{rate / peer['clips_per_s']:.2f} times the clips of {short(peer)}{note}")
    return "; ".join([*parts, *([f"c2d-fast reads {' and '.join(times)}"] if times else [])])


def short(peer: dict[str, Any]) -> str:
    """Returns a peer's name without what runs it."""
    return str(peer["name"]).partition(" in a ")[0].removesuffix(" (threads)").replace(", ", " with ", 1)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Returns what is to be said where rounds of the slower were quicker than rounds of the faster."""
    slow, fast = sorted((one, other), key=lambda row: row["clips_per_s"])
    return ", within the spread of the rounds" if slow["high"] > fast["low"] else ""
