"""What requests may cost, so that no client can take the server from the others."""

import dataclasses

# Seconds that a client may take to send the head of a request, and its whole body.
HEAD_SECONDS = 20
BODY_SECONDS = 120
# A connection without a request is closed after these seconds. More than most proxies keep theirs
# open, so that it is not closed under a request.
IDLE_SECONDS = 75
# How long a refused body is read and dropped, so that its sender sees the answer and no reset.
LINGER_SECONDS = 2
# How long the system tries to deliver an answer to a client that does not take it.
DELIVERY_SECONDS = 30
MAX_CONNECTIONS = 1000
# Bytes of the request line and headers, and of one header of a part in a form.
MAX_HEAD_BYTES = 16 << 10
MAX_PART_HEADER_BYTES = 4 << 10
MAX_PART_HEADERS = 8
# Characters of a file name that an answer repeats.
MAX_NAME = 255
# Bodies that may be in memory at once, as a multiple of the largest one.
HELD_BODIES = 4
RETRY_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits that the command line sets.

    Attributes:
        image_bytes: Bytes of one image.
        request_bytes: Bytes of the body of a request.
        images: Images of a request.
        queue: Images that wait at once, of all requests.
        batch: Images that are computed together.
        wait_s: Seconds that a batch waits for more images.
        deadline_s: Seconds from a complete request to its answer.
    """

    image_bytes: int
    request_bytes: int
    images: int
    queue: int
    batch: int
    wait_s: float
    deadline_s: float
