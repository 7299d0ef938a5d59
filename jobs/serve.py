"""Serve models as a Serve config file says, behind a HAProxy of their own, until Ctrl-C.

export RAYOLOGY_TOKEN=choose-one
python jobs/serve.py serve_configs/demo.yaml

On a cluster no job is needed: `serve run` takes the same file, as the README of serving says.
"""

from rayology.commands import start

if __name__ == "__main__":
    start("serve")
