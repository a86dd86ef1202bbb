#!/usr/bin/env bash
# Initialization action of every node: the packages of executors.lock in a Python environment beside the image's own.
# The cluster's metadata key ferlab-setup names the gs:// folder with the lock and its wheels. Nothing is
# downloaded from elsewhere. The FERLAB_ variables are for machines whose tools lie in other places.
set -euo pipefail

environment=${FERLAB_ENVIRONMENT:-/opt/ferlab}
metadata=${FERLAB_METADATA:-/usr/share/google/get_metadata_value}
gcloud=${FERLAB_GCLOUD:-gcloud}
python=${FERLAB_PYTHON:-$(test -x /opt/conda/default/bin/python && echo /opt/conda/default/bin/python || echo python3)}

say() { echo "ferlab setup: $*" >&2; }

place=$("$metadata" attributes/ferlab-setup) || { say "the cluster's metadata lacks ferlab-setup"; exit 1; }
if [ -x "$environment/bin/python" ] && [ "$(cat "$environment/.wheelhouse" 2>/dev/null)" = "$place" ]; then
    say "$environment is there"
    exit 0
fi

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
say "fetching $place"
"$gcloud" storage cp --quiet "${place%/}/*.whl" "${place%/}/executors.lock" "$wheels/"

say "installing $(find "$wheels" -name '*.whl' | wc -l) wheels with $("$python" --version) into $environment"
rm -rf "$environment"
"$python" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
    --no-index --find-links "$wheels" --require-hashes --requirement "$wheels/executors.lock"
"$environment/bin/python" -m pip check --disable-pip-version-check
echo "$place" > "$environment/.wheelhouse"
say "done"
