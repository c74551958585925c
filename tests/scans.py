"""`prepare scan` over lists that a test writes."""


def scan(run_command, path, out, *more, **kwargs):
    return run_command("prepare", "scan", "--list", path, "--out", out, *more, **kwargs)


def write_list(folder, names):
    path = folder / "list.txt"
    path.write_text("".join(f'"{name.replace(chr(34), chr(34) * 2)}" {i % 2}\n' for i, name in enumerate(names)))
    return path
