"""Where credentials come from, and what is said where something lacks."""

import sys

import pytest
from s3_server import PASSWORD, USER
from served import serve

from c2d_fast.errors import UserError
from c2d_fast.remote import stores, transfers
from c2d_fast.remote.remote_errors import RemoteError, of_text
from c2d_fast.remote.remote_path import RemotePath


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "a.txt").write_bytes(b"content")
    with serve(folder) as served:
        yield served


@pytest.fixture(autouse=True)
def _fresh():
    stores._store.cache_clear()
    yield
    stores._store.cache_clear()


def test_a_profile_s_keys_are_used(data, tmp_path, monkeypatch):
    pytest.importorskip("boto3")
    config = tmp_path / "credentials"
    config.write_text(f"[lab]\naws_access_key_id = {USER}\naws_secret_access_key = {PASSWORD}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert bytes(transfers.read_bytes(RemotePath(data.url("s3", "a.txt")))) == b"content"
    stores._store.cache_clear()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="AWS_PROFILE"):
        transfers.read_bytes(RemotePath(data.url("s3", "a.txt")))


def test_without_keys_requests_are_not_signed(data, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    data.forget()
    with pytest.raises(RemoteError, match=r"400|access denied"):  # the server has no public bucket
        transfers.file_state(RemotePath(data.url("s3", "a.txt")))
    assert data.requests("s3")


@pytest.mark.parametrize(("url", "module"), [("s3://b/a", "obstore"), ("http://h/a", "obstore"), ("hf://d/a", "fsspec")])
def test_what_is_not_installed_is_named_with_the_remedy(monkeypatch, url, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf'{module}, which is not installed; pip install "c2d-fast\[remote\]"'):
        transfers.file_state(RemotePath(url))


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"])
def test_a_400_that_tells_of_credentials_is_access_denied(code):
    error = of_text(f"status code: 400 <Code>{code}</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId>")
    assert error.strerror == f"access denied (400 {code}): credentials are missing, wrong or expired"
    assert not error.may_pass
    assert of_text("status code: 400 <Code>InvalidRequest</Code>").strerror == "the server refused the request (400)"
