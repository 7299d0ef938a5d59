"""Why an application will not run; tests/cluster hosts applications on a real Ray."""

import logging

import pytest
from ray.serve.schema import ApplicationStatusOverview, DeploymentStatusOverview

from rayology.errors import ConfigError
from rayology.serving.logs import without_advice
from rayology.serving.server import failure_of, schema_of

LARGE = (
    "Deployment 'model' in application 'demo' has 1 replicas that have taken more than 30s to be scheduled. This may "
    'be due to waiting. Resources required for each replica: {"CPU": 1, "GPU": 1}, total resources available: '
    '{"CPU": 2.0}. Use `ray status` for more details.'
)
TRACE = 'The deployment failed. Error:\nTraceback:\n  File "a.py"\n    raise\nValueError: the disk\nis not there\n'


def found(status: str, message: str = "", deployment: str = "") -> ApplicationStatusOverview:
    deployments = {
        name: DeploymentStatusOverview(status=status, status_trigger="UNSPECIFIED", replica_states={}, message=text)
        for name, text in {"model": deployment, "other": ""}.items()
    }
    return ApplicationStatusOverview(status=status, message=message, last_deployed_time_s=0, deployments=deployments)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (found("DEPLOY_FAILED", "Failed to update ['model'].", TRACE), "ValueError: the disk is not there"),
        (found("DEPLOY_FAILED", TRACE), "ValueError: the disk is not there"),
        (found("DEPLOY_FAILED", "The path is taken."), "The path is taken."),
        (found("DEPLOY_FAILED"), "Serve does not say why"),
    ],
)
def test_an_application_that_failed_is_told_in_one_line(status: ApplicationStatusOverview, why: str) -> None:
    assert failure_of("demo", status, is_alone=False) == f"applications: demo cannot be deployed: {why}"


def test_a_replica_for_which_there_is_no_room_will_not_run_where_no_node_can_come() -> None:
    waiting = found("DEPLOYING", deployment=LARGE)

    why = failure_of("demo", waiting, is_alone=True)

    assert why.startswith('applications: demo: a replica takes {"CPU": 1, "GPU": 1}, and {"CPU": 2.0} is left')
    assert failure_of("demo", waiting, is_alone=False) == ""


@pytest.mark.parametrize("status", ["DEPLOYING", "RUNNING"])
def test_an_application_that_starts_or_waits_for_its_environment_may_run_yet(status: str) -> None:
    waiting = found(status, deployment=LARGE.replace(', "GPU": 1', ""))

    assert failure_of("demo", waiting, is_alone=True) == ""


def test_what_serve_refuses_is_told_in_one_line() -> None:
    twice = {"applications": [{"name": "a", "import_path": "a:b"}] * 2, "http_options": {"request_timeout_s": "x"}}

    with pytest.raises(
        ConfigError,
        match=r'^Serve refuses the config: http_options.request_timeout_s: .*; applications: Found [^\n]*"a"',
    ):
        schema_of(twice)


def test_a_server_of_one_machine_is_not_advised_to_listen_on_all_addresses() -> None:
    logger = logging.getLogger("ray.serve")
    without_advice()

    try:
        kept = [
            logger.filter(logging.makeLogRecord({"msg": words})) for words in ("HTTPOptions.host='a' won't", "Lost.")
        ]
    finally:
        logger.removeFilter(logger.filters[-1])

    assert [bool(each) for each in kept] == [False, True]
