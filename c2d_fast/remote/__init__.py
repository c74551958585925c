"""Files behind URLs, in object stores and on web servers: of a file only the bytes that are asked for. No torch, no DALI.

May import: processes.

remote_path.py    where a file is: a path, or a URL without its secrets
stores.py         which library reads a URL, with which options
remote_errors.py  what went wrong, in one line that holds no secret
event_loop.py     the thread that all requests of a process run in
throttle.py       how many requests are in flight: fewer where a server asks for that
requests.py       one request: time limits, tries, the state that the file must be in
ranges.py         the parts of a file that a clip needs, read now or ahead
range_cache.py    such parts, kept in a local folder
remote_file.py    a file object, for FFmpeg
transfers.py      whole files: states, downloads, uploads, listings
"""
