"""MLflow on SQLite: a resumed command goes on in its own run."""

import pytest
from mlflow import MlflowClient

from orthoray.tracking import Tracker


@pytest.mark.slow
def test_run_is_reopened_on_resume_and_closed_with_the_right_status(tmp_path):
    folder = str(tmp_path / "run")
    tracker = Tracker(folder, "pretrain", {"a": {"b": 1}})

    def interrupted():
        with tracker:
            tracker.log({"loss": 3.0}, step=1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(tracker.run_id).info.status == "KILLED"
    with Tracker(folder, "pretrain", {"a": {"b": 1}}) as again:
        again.log({"loss": 2.0}, step=2)
    assert again.run_id == tracker.run_id
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a.b": "1"}
    assert [(metric.step, metric.value) for metric in client.get_metric_history(tracker.run_id, "loss")] == [
        (1, 3),
        (2, 2),
    ]
    assert run.info.artifact_uri.startswith(str(tmp_path))
