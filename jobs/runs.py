"""List the runs and sweeps of a storage with how far each is, compare two runs, or remove one of either.

python jobs/runs.py --storage /data/rayology
python jobs/runs.py --action compare --name phantom-20260101-120000-000000 --other phantom-20260101-110000-000000
python jobs/runs.py --action remove --name phantom-20260101-120000-000000

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/runs.py --storage /shared/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("runs")
