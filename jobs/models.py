"""List the models of a store, show one, compare two versions, promote one, try one out, or roll a promotion back.

python jobs/models.py --action list
python jobs/models.py --action compare --name phantom --version 20260101-120000-0123abcd
python jobs/models.py --action canary --name phantom --version 20260101-120000-0123abcd --share 0.1
python jobs/models.py --action rollback --name phantom

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/models.py --action list --store s3://bucket/rayology
"""

from rayology.commands import start

if __name__ == "__main__":
    start("models")
