"""De-identify a folder of DICOM; the key and all that names files or patients stay in the private folder.

python jobs/deidentify.py --source "$SERIES" --output shared --profile.dates shifted

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/deidentify.py --source /archive/study --output /shared/study --private /archive/private
"""

from rayology.commands import start

if __name__ == "__main__":
    start("deidentify")
