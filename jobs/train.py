"""Train one model on as many workers as the experiment asks for, and write it as a bundle.

python jobs/train.py jobs/experiments/phantom.yaml --scaling.num-workers 2
python jobs/train.py --resume last

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/train.py jobs/experiments/phantom.yaml --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("train")
