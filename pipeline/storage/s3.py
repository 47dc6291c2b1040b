"""Beam's S3 client, made fit for many small files.

Beam 2.77 makes a boto3 session for every call, which costs more than reading an image. It waits ten
minutes before it reports that a store does not answer, and it cannot write an empty file. Importing
this module replaces Beam's client by `Client`.
"""

import functools
from collections.abc import Callable
from typing import Any, BinaryIO

import boto3

# Private API: apache-beam 2.77.
from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.aws.clients.s3.messages import (
    CompleteMultipartUploadRequest,
    GetRequest,
    S3ClientError,
)
from apache_beam.io.aws.s3io import S3IO
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from apache_beam.utils.retry import PermanentException
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Retries wait a second or two: a store that does not answer is reported within half a minute.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=60,
)


class StoreError(OSError, PermanentException):
    """An error answer of the store, or none at all.

    boto3 has retried already. Beam does not retry a PermanentException.
    """


@functools.cache
def _connection(**options: Any) -> Any:
    return boto3.session.Session().client("s3", config=_CONFIG, **options)


def _without_retries(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method of Beam's client so that Beam does not retry its errors.

    Only a missing object stays the error that Beam knows how to handle.
    """

    @functools.wraps(method)
    def call(self: "Client", *request: Any) -> Any:
        try:
            return method(self, *request)
        except S3ClientError as error:
            if error.code == 404 and "NoSuchBucket" not in error.message:
                raise
            raise StoreError(error.message) from None

    return call


class Client(boto3_client.Client):
    """One connection pool in a process for all calls with the same options."""

    def __init__(self, options: PipelineOptions | None):
        s3 = (options or PipelineOptions([])).view_as(S3Options)
        self.client = _connection(
            region_name=s3.s3_region_name,
            api_version=s3.s3_api_version,
            use_ssl=not s3.s3_disable_ssl,
            verify=s3.s3_verify,
            endpoint_url=s3.s3_endpoint_url,
            aws_access_key_id=s3.s3_access_key_id,
            aws_secret_access_key=s3.s3_secret_access_key,
            aws_session_token=s3.s3_session_token,
        )
        # The parent's state: the object that is being read.
        self._download_request = self._download_stream = None
        self._download_pos = 0

    get_object_metadata = _without_retries(boto3_client.Client.get_object_metadata)
    list = _without_retries(boto3_client.Client.list)
    create_multipart_upload = _without_retries(boto3_client.Client.create_multipart_upload)
    upload_part = _without_retries(boto3_client.Client.upload_part)
    delete_batch = _without_retries(boto3_client.Client.delete_batch)
    copy = _without_retries(boto3_client.Client.copy)

    # __wrapped__: without Beam's decorator, which retries for minutes.
    get_range = _without_retries(boto3_client.Client.get_range.__wrapped__)

    @_without_retries
    def complete_multipart_upload(self, request: CompleteMultipartUploadRequest) -> None:
        """End an upload.

        S3 refuses an upload without parts: an empty file is put as a single object.
        """
        if request.parts:
            super().complete_multipart_upload(request)
            return
        place = {"Bucket": request.bucket, "Key": request.object}
        try:
            self.client.abort_multipart_upload(**place, UploadId=request.upload_id)
            self.client.put_object(**place, Body=b"")
        except (BotoCoreError, ClientError) as error:
            raise StoreError(str(error)) from None


class _PieceClient(Client):
    """A client that asks for the bytes that are read.

    Its parent asks for the rest of the object, and drops the connection when another piece is read.
    """

    @_without_retries
    def get_range(self, request: GetRequest, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end` of an object."""
        place = {"Bucket": request.bucket, "Key": request.object}
        attempts = 2  # botocore repeats a request that fails, but not the reading of its answer.
        while True:
            attempts -= 1
            try:
                answer = self.client.get_object(**place, Range=f"bytes={start}-{end - 1}")
                content: bytes = answer["Body"].read()
                return content
            except (BotoCoreError, ClientError, OSError) as error:
                if not attempts or isinstance(error, ClientError):
                    code = boto3_client.get_http_error_code(error)
                    raise S3ClientError(str(error), code) from None


def open_random(path: str, options: PipelineOptions) -> BinaryIO:
    """Open an object for reading small pieces, without a buffer."""
    raw: BinaryIO = S3IO(client=_PieceClient(options)).open(path).detach()
    return raw


boto3_client.Client = Client
