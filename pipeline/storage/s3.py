"""Beam's S3 client, made fit for many small files.

Beam 2.77 makes a boto3 session for every call, which costs more than reading an image; waits ten
minutes before it says that a store does not answer; and cannot write an empty file. Importing this
module puts `Client` in the place of Beam's.
"""

import functools
from typing import Any

import boto3
from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.aws.clients.s3.messages import CompleteMultipartUploadRequest, S3ClientError
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from apache_beam.utils.retry import PermanentException
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Waits a second or two between them; a store that does not answer is told of in half a minute.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=60,
)


class StoreError(OSError, PermanentException):
    """What the store answers, or that it does not. boto3 has tried again: Beam must not."""


@functools.cache
def _connection(**options: Any):
    return boto3.session.Session().client("s3", config=_CONFIG, **options)


def _final(method):
    """`method` with errors that Beam does not try again, but for the 404 that it understands."""

    @functools.wraps(method)
    def call(self, *request):
        try:
            return method(self, *request)
        except S3ClientError as error:
            if error.code == 404 and "NoSuchBucket" not in error.message:
                raise
            raise StoreError(error.message) from None

    return call


class Client(boto3_client.Client):
    """One connection pool a process for all calls with the same options."""

    def __init__(self, options: PipelineOptions | None):
        given = (options or PipelineOptions([])).view_as(S3Options)
        self.client = _connection(
            region_name=given.s3_region_name,
            api_version=given.s3_api_version,
            use_ssl=not given.s3_disable_ssl,
            verify=given.s3_verify,
            endpoint_url=given.s3_endpoint_url,
            aws_access_key_id=given.s3_access_key_id,
            aws_secret_access_key=given.s3_secret_access_key,
            aws_session_token=given.s3_session_token,
        )
        # Of the parent: the object that is being read.
        self._download_request = self._download_stream = None
        self._download_pos = 0

    get_object_metadata = _final(boto3_client.Client.get_object_metadata)
    list = _final(boto3_client.Client.list)
    create_multipart_upload = _final(boto3_client.Client.create_multipart_upload)
    upload_part = _final(boto3_client.Client.upload_part)
    delete_batch = _final(boto3_client.Client.delete_batch)
    copy = _final(boto3_client.Client.copy)

    # Without the decorator that tries again, for minutes.
    get_range = _final(boto3_client.Client.get_range.__wrapped__)

    @_final
    def complete_multipart_upload(self, request: CompleteMultipartUploadRequest) -> None:
        """End an upload. One without parts is refused by S3: an empty file is put as it is."""
        if request.parts:
            super().complete_multipart_upload(request)
            return
        place = {"Bucket": request.bucket, "Key": request.object}
        try:
            self.client.abort_multipart_upload(**place, UploadId=request.upload_id)
            self.client.put_object(**place, Body=b"")
        except (BotoCoreError, ClientError) as error:
            raise StoreError(str(error)) from None


boto3_client.Client = Client
