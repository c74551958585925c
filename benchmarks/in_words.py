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
            ours = next((row for row in rows if row["name"] == name and row["form"] == form), None)
            has_index = name == OUR_MAIN[1]
            peers = [row for row in rows if not row["ours"] and row["form"] == form]
            peers = [row for row in peers if (row["index"] not in WITHOUT_INDEX) == has_index]
            if ours and peers:
                sentences.append(f"{group}, {FORMS.get(form, form)}: {against(ours, peers)}.")
    across = ratios(result).get(f"{OUR_MAIN[0]} on intra against decord on stored")
    if across:
        sentences.append(f"Without an index, transcoded for c2d-fast and as downloaded for decord: {across:.1f} times.")
    return " ".join(sentences)


def against(ours: dict[str, Any], peers: list[dict[str, Any]]) -> str:
    """Returns how our loader stands to decord, and to the peers that are faster, or the fastest."""
    rate, told = ours["clips_per_s"], []
    faster = [peer for peer in peers if peer["clips_per_s"] > rate]
    for peer in sorted(faster, key=lambda peer: -peer["clips_per_s"]):
        told.append(
            f"{peer['name']} is faster, {peer['clips_per_s'] / rate:.2f} times the clips of c2d-fast{overlap(ours, peer)}"
        )
    decord = next((peer for peer in peers if peer["name"].startswith("decord ")), None)
    fastest = max(peers, key=lambda peer: peer["clips_per_s"])
    compared = [(peer, words) for peer, words in ((decord, ""), (fastest, ", the fastest peer")) if peer and peer not in faster]
    if len(compared) == 2 and decord is fastest:
        del compared[0]
    for peer, words in compared:
        told.append(
            f"c2d-fast reads {rate / peer['clips_per_s']:.2f} times the clips of {peer['name']}{words}{overlap(ours, peer)}"
        )
    return "; ".join(told)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Returns what is to be said where rounds of the slower were quicker than rounds of the faster."""
    slow, fast = sorted((one, other), key=lambda row: row["clips_per_s"])
    return " (some rounds the other way round)" if slow["high"] > fast["low"] else ""
