"""Search architectures and learning rates, and make the best model the champion if it is better than that.

python jobs/tune.py jobs/experiments/phantom.yaml --search.num-trials 16
python jobs/tune.py --resume last

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/tune.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("tune")
