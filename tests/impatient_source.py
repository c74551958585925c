"""A source whose requests to servers are given up after a moment: what comes of that is seen in seconds."""

from dataclasses import fields

from c2d_fast.loading.source import ClipSource
from c2d_fast.remote import requests, stores

requests.RETRY_LIMIT_S, requests._QUICK_TRIES = 0.5, 2  # also in the workers, which import this module
stores.READ_LIMIT_S = stores.REQUEST_LIMIT_S = 2


class ImpatientSource(ClipSource):
    """Like any other."""


def impatient(source):
    return ImpatientSource(**{field.name: getattr(source, field.name) for field in fields(source)})
