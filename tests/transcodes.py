"""`prepare transcode` with a test's flags."""


def transcode(run_command, path, out, *more, **kwargs):
    return run_command("prepare", "transcode", "--list", path, "--out", out, *more, **kwargs)
