"""Blobs in an object store that speaks S3, here that of moto on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from detopt.errors import CheckpointError
from detopt.runtime.storage import BlobStore
from detopt.runtime.storage.encoding import digest_of
from detopt.testing.store_contract import StoreContract

BUCKET = "studies"
DATA = bytes(range(256)) * 100


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        patch.setenv("AWS_ENDPOINT_URL", url)
        _client(url).create_bucket(Bucket=BUCKET)
        yield url
        server.stop()


def _client(url: str):
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    return boto3.client("s3", "us-east-1", endpoint_url=url)


@pytest.fixture
def blobs(endpoint: str, request: pytest.FixtureRequest) -> BlobStore:
    prefix = digest_of(request.node.name.encode())[:12]
    return BlobStore(f"s3://{BUCKET}/{prefix}", client_kwargs={"endpoint_url": endpoint})


def test_bytes_come_back_as_they_went(blobs: BlobStore) -> None:
    digest = blobs.put(DATA)
    assert digest == digest_of(DATA)
    assert digest in blobs
    assert blobs.get(digest) == DATA


def test_publishing_again_writes_nothing(blobs: BlobStore, endpoint: str) -> None:
    bucket, _, key = blobs.path(blobs.put(DATA)).partition("/")
    before = _client(endpoint).head_object(Bucket=bucket, Key=key)["LastModified"]
    _client(endpoint).put_object_tagging(
        Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "first", "Value": "yes"}]}
    )
    blobs.put(DATA)  # an object that is written again loses its tags
    assert _client(endpoint).head_object(Bucket=bucket, Key=key)["LastModified"] == before
    assert _client(endpoint).get_object_tagging(Bucket=bucket, Key=key)["TagSet"]


def test_damage_is_named_and_mended_by_publishing_again(blobs: BlobStore, endpoint: str) -> None:
    digest = blobs.put(DATA)
    bucket, _, key = blobs.path(digest).partition("/")
    flipped = bytes([DATA[0] ^ 1]) + DATA[1:]
    _client(endpoint).put_object(Bucket=bucket, Key=key, Body=flipped)
    with pytest.raises(CheckpointError, match=f"{digest} is damaged"):
        blobs.get(digest)
    assert blobs.put(DATA) == digest
    assert blobs.get(digest) == DATA


def test_missing_and_removed_bytes_are_named(blobs: BlobStore) -> None:
    digest = blobs.put(DATA)
    blobs.remove(digest)
    blobs.remove(digest)
    assert digest not in blobs
    with pytest.raises(CheckpointError, match=f"{digest} is missing"):
        blobs.get(digest)


def test_a_bucket_that_is_not_there_is_named(endpoint: str) -> None:
    nowhere = BlobStore("s3://no-such-bucket/x", client_kwargs={"endpoint_url": endpoint})
    with pytest.raises(CheckpointError, match="Cannot write no-such-bucket/x"):
        nowhere.put(DATA)


class TestSqliteAndObjects(StoreContract):
    """The whole contract with its files there, by URL and environment alone."""

    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'study.sqlite'}"

    @pytest.fixture
    def blobs_url(self, endpoint: str, tmp_path: Path) -> str:
        return f"s3://{BUCKET}/{digest_of(str(tmp_path).encode())[:12]}"


@pytest.mark.usefixtures("endpoint")
def test_an_object_store_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    once = {"retries": {"max_attempts": 0}}
    away = "http://127.0.0.1:9"
    blobs = BlobStore(f"s3://{BUCKET}/x", endpoint_url=away, config_kwargs=once)
    for look, match in [
        (lambda: blobs.put(DATA), r"Cannot write .*127\.0\.0\.1:9.*mend the cause"),
        (lambda: blobs.get(digest_of(DATA)), "Cannot read"),
        (lambda: digest_of(DATA) in blobs, "Cannot look for"),
        (lambda: blobs.remove(digest_of(DATA)), "Cannot remove"),
    ]:
        with pytest.raises(CheckpointError, match=match):
            look()
