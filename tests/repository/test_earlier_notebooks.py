"""What notebooks imported before modules moved is still there: people keep their own copies, and update the project."""

import subprocess
import sys

import pytest

import helpers

#: The imports of all notebooks before the move, and what each module was asked for.
IMPORTS = """
from helpers import certificates, checks, connections, course, faults, fleet, workspace
from helpers import failure_lessons, fleet_lessons, lessons, progress, tpm_lessons, workshop, x509_lessons
from helpers.certificates import CertificateError
from helpers.checks import check_parameters
from helpers.credentials import Secret, derive_device_key, mask, new_key
from helpers.diagnosis import explain
from helpers.exercises import failures, fleet_size, fleets, start, symmetric_key, tpm, x509
from helpers.registry import twin_patch
from helpers.target import TargetError, checked_id_scope, connect, normalised_host
from helpers.tpm import ActivationError, TpmProvisioningDeviceClient, open_tpm, renew_tokens, tpm_sas_token
from helpers.views import chain_of_trust, device_table, distribution, enrollment_form, enrollment_list, fleet_progress
from helpers.views import histogram, overview, sequence, timeline, twin_editor
from helpers.views.text import text_table
from helpers.views.tpm import challenge_parts, command_table, inside_the_tpm, key_table
from helpers.webhook import example_request, publish
certificates.create_root, certificates.create_self_signed, certificates.load
certificates.mistakes.authority_as_device, certificates.mistakes.expired, certificates.mistakes.leaf_only
certificates.mistakes.other_name
checks.environment, checks.expect_failure, checks.gone_is_fine, checks.step, checks.wait_until
connections.replace, connections.shut_down
course.lessons
failure_lessons.FILES, failure_lessons.LINE_NAME
faults.clear, faults.cut, faults.latency, faults.throttle, faults.unavailable
fleet.Backoff, fleet.busiest, fleet.lift_limits, fleet.limits, fleet.provision, fleet.refusals, fleet.summary
fleet_lessons.remove_fleet, fleet_lessons.restore
lessons.device_exists, lessons.enrollments_of, lessons.records_of, lessons.remove_enrollment, lessons.remove_group
progress.Standing, progress.line, progress.overview, progress.restore, progress.summary, progress.through
tpm_lessons.has_hub_key, tpm_lessons.hub_key, tpm_lessons.where_is
workshop.binder_link, workshop.reset
workspace.claim, workspace.clear, workspace.empty_folder, workspace.files, workspace.folder, workspace.need
workspace.save, workspace.start_over
x509_lessons.authorities_of, x509_lessons.authority, x509_lessons.delete_authority
"""


def test_an_earlier_notebook_finds_what_it_imports(repository):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(helpers._MOVED))
def test_the_name_of_before_is_the_module_of_today(name):
    assert getattr(helpers, name).__name__ == f"helpers.{helpers._MOVED[name]}"


#: Python without the simulator among its packages, as in an environment that was made before.
WITHOUT = """
import sys
sys.meta_path = [each for each in sys.meta_path if "dps_simulator" not in getattr(each, "__module__", "")]
sys.path = [each for each in sys.path if not each.rstrip("/").endswith("simulator")]
import importlib.util
assert importlib.util.find_spec("dps_simulator") is None
from helpers.target import connect
import dps_simulator
print(dps_simulator.__file__)
"""


def test_an_environment_that_was_made_before_finds_the_simulator_of_the_checkout(repository):
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(repository / "simulator" / "dps_simulator" / "__init__.py")
