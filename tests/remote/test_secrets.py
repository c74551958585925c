"""Keys, passwords and signed URLs stay out of all that a command says and leaves."""

import pytest
from media import make_dataset
from runs import flags, one_line, run
from scans import scan
from served import serve

from c2d_fast.errors import UserError
from c2d_fast.info import parse as info
from c2d_fast.lists.listing import read_list
from c2d_fast.loading.usable_videos import open_listing
from c2d_fast.predict import parse as predict
from c2d_fast.prepare.command_line import parse as prepare
from c2d_fast.remote.range_cache import open_cache
from c2d_fast.train import parse as train

KEY, SECRET, TOKEN, PASSWORD = "AKIAKEYOFTHETEST", "secretofthetest", "tokenofthetest", "passwordofthetest"
WRONG = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    make_dataset(folder, count=8, num_frames=(20,))
    with serve(folder) as served:
        yield served


def check_hidden(folder, done, *secrets):
    """Looks at what a command has said, and into every file below a folder."""
    places = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    places |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = [name for name, content in places.items() for secret in secrets if secret.encode() in content]
    assert found == []
    return places


def test_a_run_leaves_no_secrets(data, tmp_path):
    env = {"NETRC": str(tmp_path.parent / "netrc"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    (tmp_path.parent / "netrc").write_text(f"machine 127.0.0.1 login {KEY} password {PASSWORD}\n")
    for kind in ("http", "s3"):
        listed = data.url(kind, "list.txt")
        done = run(*flags(listed, tmp_path / kind, "--cache", tmp_path / "cache", epochs=1), env=env)
        assert done.returncode == 0, done.stderr
        # Of the S3 server's keys; its user is "test:tester", its password "testing", a word that may occur.
        places = check_hidden(tmp_path, done, KEY, PASSWORD, "test:tester", "Basic ", "AWS4-HMAC")
        names = " ".join(places)
        assert all(part in names for part in ("config.json", "last.pt", "tfevents", "metrics.jsonl", "home/", "cache/"))


def test_wrong_keys_end_in_one_line_without_them(data, tmp_path):
    env = {**WRONG, "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = run(*flags(data.url("s3", "list.txt"), tmp_path / "run", epochs=1), env=env)
    one_line(done, 2, "access denied (403")
    check_hidden(tmp_path, done, KEY, SECRET, TOKEN)


def test_wrong_keys_for_videos_are_no_secret_either(data, tmp_path, run_command):
    env = {**WRONG, "XDG_CACHE_HOME": str(tmp_path / "home")}
    (tmp_path / "list.txt").write_text((data.folder / "list.txt").read_text())
    done = scan(run_command, tmp_path / "list.txt", tmp_path / "m.npz", "--data-root", data.url("s3"), env=env)
    assert done.returncode == 2, done.stdout
    check_hidden(tmp_path, done, KEY, SECRET, TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        f"https://{KEY}:{SECRET}@host/list.txt",
        f"https://host/list.txt?sig={SECRET}",
        f"az://container/list.txt?sv=2024&sig={SECRET}",
        f"s3://bucket/list.txt?X-Amz-Signature={SECRET}",
        f"s3://{KEY}:{SECRET}@bucket/list.txt",
        f"https://host?{SECRET}",
    ],
)
def test_urls_with_secrets_are_refused_in_one_line_without_them(tmp_path, url):
    (tmp_path / "list.txt").write_text(f"{url} 0\n")
    (tmp_path / "no label.txt").write_text(f"{url}\n")
    for call in (
        lambda: read_list(url, None, None),
        lambda: read_list(tmp_path / "list.txt", None, None),
        lambda: read_list(tmp_path / "no label.txt", None, None),
        lambda: open_cache(url, None),
        lambda: open_listing([url], None, None, None, None, None),
        lambda: prepare(["scan", "--list", url, "--out", "m.npz"]),
        lambda: prepare(["scan", "--list", "list.txt", "--out", url]),
        lambda: prepare(["transcode", "--list", "list.txt", "--out", url]),
        lambda: prepare(["show", url]),
        lambda: predict([url, "--pipe", "demo", "--checkpoint", "x.pt"]),
        lambda: info(["--checkpoint", url]),
        lambda: train(["--pipe", "demo", "--out", url]),
    ):
        with pytest.raises(UserError) as error:
            call()
        said = str(error.value)
        assert "URL" in said
        assert not [secret for secret in (KEY, SECRET) if secret in said]
        assert "\n" not in said


def test_commands_that_take_no_url_say_so_in_one_line(run_command):
    for words in (("prepare", "show", "s3://b/m.npz"), ("prepare", "scan", "--list", "x", "--out", "s3://b/m.npz")):
        done = run_command(*words)
        one_line(done, 2, "s3://b/...: is a URL, and what is meant must be a path on this machine")
