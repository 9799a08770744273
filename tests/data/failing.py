"""A worker that fails, in a module that Ray's workers can import."""

import time

from orthoray import storage
from orthoray.data.shards import ShardWriter
from orthoray.data.state import REPORTS, shard_uri


class FailingWriter(ShardWriter):
    """Writes all shards but the last, which fails when the others are there."""

    def _shard(self, place):
        *others, (last, _) = self.keys
        if self.keys[place][0] == last:
            until = time.monotonic() + 100
            while time.monotonic() < until and not all(
                storage.exists(shard_uri(self.out, REPORTS, number)) for number, _ in others
            ):
                time.sleep(0.05)
            raise ValueError("about JANE DOE")
        yield from super()._shard(place)
