"""Prepare a source: decode it once, bring it to one size and range, split it by patient.

python jobs/prepare.py jobs/experiments/phantom.yaml

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/prepare.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("prepare")
