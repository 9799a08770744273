"""Ray's job client with a limit on how long it waits; apart, because it imports Ray."""

from __future__ import annotations

import logging
from typing import Any

from ray.job_submission import JobSubmissionClient

from orthoray.cluster.client import REQUEST_TIMEOUT_S

_CHATTY = ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging")
for _name in (f"ray.{part}" for part in _CHATTY):
    logging.getLogger(_name).setLevel(logging.WARNING)


class TimedClient(JobSubmissionClient):
    """`JobSubmissionClient` whose requests end after `REQUEST_TIMEOUT_S` without an answer."""

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        options.setdefault("timeout", REQUEST_TIMEOUT_S)
        return super()._do_request(*arguments, **options)
