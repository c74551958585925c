"""The kind of labels that a recipe means, against those that a list has."""

from dataclasses import replace

import numpy as np

from c2d_fast.errors import UserError
from c2d_fast.formats.label_sets import NO_LABEL, LabelSets
from c2d_fast.lists.listing import Listing
from c2d_fast.recipe import Labels

_SUM_TOLERANCE = 1e-3


def label_to_ignore(labels: Labels) -> int | None:
    """Returns what read_list takes as ignore: with several labels a video, -1 says that it has none of them."""
    return NO_LABEL if labels.ignore is None and labels.kind == "several" else labels.ignore


def of_kind(listing: Listing, labels: Labels) -> Listing:
    """Returns a list as a recipe's labels mean it: of kind single without label sets, of the others with them.

    So batches of single labels have no targets, and those of the others have them, whatever the list's shape.

    Raises:
        UserError: of kind single, a video has several labels, a share, or none that is ignored; of kind soft, a video's shares
            do not sum to 1. The line is named.
    """
    sets = listing.label_sets
    if labels.kind == "single":
        if sets is not None:
            _check_single(listing, sets, labels)
        return listing if sets is None else replace(listing, label_sets=None)
    if sets is None:
        sets = LabelSets.from_labels(np.asarray(listing.labels))
        listing = replace(listing, label_sets=sets)
    if labels.kind == "soft":
        _check_shares(listing, sets, labels)
    return listing


def check_says_something(listing: Listing, labels: Labels, flag: str) -> None:
    """Refuses a list of which no video has a label that counts: no figure can be computed of it, and nothing learnt.

    Args:
        listing: as of_kind returns it.
        labels: the recipe's.
        flag: that named the list.

    Raises:
        UserError: it is such a list.
    """
    if len(listing.labels) and int(np.max(listing.labels)) == NO_LABEL:
        why = "" if labels.ignore is None else f" (labels.ignore is {labels.ignore})"
        raise UserError(f"{flag} {listing.path}: none of its {len(listing.labels)} videos has a label{why}; give another list")


def _check_single(listing: Listing, sets: LabelSets, labels: Labels) -> None:
    odd = np.flatnonzero(sets.odd)
    if len(odd):
        more = f" ({len(odd)} of the list's {len(sets)} videos)" if len(odd) > 1 else ""
        raise UserError(
            f"{listing.location(int(odd[0]))}: has the labels {sets.text(int(odd[0])):.50}{more}, and the recipe's labels are "
            "of kind single; give a list with one label each, or --set labels.kind=several, or =soft for shares that sum to 1"
        )
    _check_some(listing, sets, labels)


def _check_shares(listing: Listing, sets: LabelSets, labels: Labels) -> None:
    _check_some(listing, sets, labels)
    sums = sets.sums
    wrong = np.flatnonzero((np.abs(sums - 1) > _SUM_TOLERANCE) & (sets.lengths > 0))
    if len(wrong):
        more = f" ({len(wrong)} of the list's {len(sets)} videos)" if len(wrong) > 1 else ""
        raise UserError(
            f"{listing.location(int(wrong[0]))}: the weights of its labels sum to {sums[wrong[0]]:.4g}{more}; labels of kind "
            "soft are shares that sum to 1: correct them, or give --set labels.kind=several"
        )


def _check_some(listing: Listing, sets: LabelSets, labels: Labels) -> None:
    none = np.flatnonzero(sets.lengths == 0)
    if len(none) and labels.ignore is None:
        more = f" ({len(none)} of the list's {len(sets)} videos)" if len(none) > 1 else ""
        raise UserError(
            f"{listing.location(int(none[0]))}: has no label{more}, and the recipe's labels are of kind {labels.kind}; give it "
            "one, leave it out, or say with --set labels.ignore=-1 that such videos count in no loss and no score"
        )
