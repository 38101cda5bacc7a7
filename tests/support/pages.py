"""Pages of history as the bytes that they are."""


def frames_of(body: bytes, count: int) -> list[bytes]:
    """The frames of a page, cut out of its bytes without writing them anew. ValueError if they are not `count`."""
    if not count:
        return []
    begin = body.index(b'"events":[') + len(b'"events":[')
    inside = body[begin : body.rindex(b"]")]
    pieces = inside.split(b',{"id":')
    frames = [piece if n == 0 else b'{"id":' + piece for n, piece in enumerate(pieces)]
    if len(frames) != count:
        raise ValueError(f"{len(frames)} frames where {count} were expected")
    return frames
