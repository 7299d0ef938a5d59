"""Put a bundle into the store and, if it is better than the champion of its name, make it the champion.

python jobs/publish.py --bundle .rayology/runs/NAME/bundle

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/publish.py --bundle /shared/rayology/runs/NAME/bundle --store s3://bucket/rayology \
    --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("publish")
