"""Evaluate a bundle on a split of the dataset that it was trained on, next to what costs nothing to train.

python jobs/evaluate.py --bundle .rayology/runs/NAME/bundle --split test

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/evaluate.py --bundle /shared/rayology/runs/NAME/bundle --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("evaluate")
