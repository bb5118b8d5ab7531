#!/usr/bin/env bash
# Runs upstream's tests on a Trn1, Inf2 or Trn2 host, without and with the fix of a kit, and records what happened.
#
#   scripts/neuron_evidence.sh --kit DIR --repo CLONE --output FILE
#
# DIR is what `nkifix pr` wrote; CLONE is a clone of neuronx-distributed-inference, which is only read. FILE receives the
# environment, the exact commands, their whole output and timings as JSON; `nkifix pr --evidence FILE` checks and quotes
# it. The host needs bash, git, and a Python (PYTHON=..., default python3) with neuronx-cc, torch-xla and pytest; nkifix
# itself is not needed there. Read FILE before you share it.
set -euo pipefail

PYTHON=${PYTHON:-python3}
# where an EC2 host says what it is
PRODUCT_NAME=${PRODUCT_NAME:-/sys/devices/virtual/dmi/id/product_name}
KERNEL=src/neuronx_distributed_inference/modules/sliding_window/attention.py
TESTS=test/unit/modules/sliding_window/test_attention.py

refuse() { # what, what to do
    printf 'ERROR %s\n  next: %s\n' "$1" "$2" >&2
    exit 2
}

kit='' repo='' output=''
while [ $# -gt 0 ]; do
    case $1 in
    --kit) kit=${2:-} ;;
    --repo) repo=${2:-} ;;
    --output) output=${2:-} ;;
    *) refuse "there is no option $1" 'neuron_evidence.sh --kit DIR --repo CLONE --output FILE' ;;
    esac
    shift $(($# > 1 ? 2 : 1))
done
[ -n "$kit" ] && [ -n "$repo" ] && [ -n "$output" ] ||
    refuse 'an option is missing' 'neuron_evidence.sh --kit DIR --repo CLONE --output FILE'

command -v git >/dev/null || refuse 'git is not installed' 'install git'
command -v neuron-ls >/dev/null ||
    refuse 'neuron-ls is not on PATH: this is no Neuron host' 'run this on a Trn1, Inf2 or Trn2 instance'
neuron_ls=$(neuron-ls 2>&1) || refuse "neuron-ls finds no NeuronCores: $neuron_ls" 'load the Neuron driver'
[ -r "$PRODUCT_NAME" ] || refuse "$PRODUCT_NAME cannot be read" 'run this on an EC2 instance'
"$PYTHON" -c 'import neuronxcc.nki' ||
    refuse "$PYTHON has no neuronxcc.nki" 'activate the environment of the Neuron SDK, or set PYTHON'
[ ! -e "$output" ] || refuse "$output is there already" 'name a new file'

patch=$(ls "$kit"/0001-*.patch 2>/dev/null) || refuse "$kit holds no patch" 'name the directory that nkifix pr wrote'
patch=$(cd "$(dirname "$patch")" && pwd)/$(basename "$patch")
base=$(sed -n 's/^base-commit: //p' "$patch")
[ -n "$base" ] || refuse "$patch names no base-commit" 'make the kit again'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# A clone of our own: neither the user's files, index and branches nor their configuration are touched or used.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
git clone --quiet --shared --no-checkout "$repo" "$work/tree" || refuse "$repo cannot be cloned" 'name a git clone'
cd "$work/tree"
git checkout --quiet --detach "$base" || refuse "the clone does not have $base" 'git fetch in the clone'
sha256sum "$KERNEL" "$TESTS" >"$work/before.sha256"
cp "$KERNEL" "$work/kernel_before.py"
git -c user.name=evidence -c user.email=evidence@localhost am --quiet "$patch" ||
    refuse 'the patch does not apply' 'make the kit again'
sha256sum "$KERNEL" "$TESTS" >"$work/after.sha256"
cp "$KERNEL" "$work/kernel_after.py"

run_stage() { # before or after: the new tests with that kernel
    cp "$work/kernel_$1.py" "$KERNEL"
    echo "running upstream's tests, $1 the fix" >&2
    local start status=0
    start=$(date +%s.%N)
    PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" \
        "$PYTHON" -m pytest -v -p no:cacheprovider "$TESTS" >"$work/$1.log" 2>&1 || status=$?
    printf '%s %s %s\n' "$start" "$(date +%s.%N)" "$status" >"$work/$1.times"
}
run_stage before
run_stage after
cd - >/dev/null

BASE=$base WORK=$work TESTS=$TESTS INSTANCE_TYPE=$(cat "$PRODUCT_NAME") NEURON_LS=$neuron_ls OUTPUT=$output \
    "$PYTHON" - <<'END'
import json
import os
import pathlib
import platform
import re
import time
from importlib import metadata

work = pathlib.Path(os.environ["WORK"])
own = str(work / "tree")
shown = re.compile(r"^(\S.*?) (PASSED|FAILED|ERROR)\b", re.MULTILINE)
wanted = re.compile(r"neuron|torch|nki|numpy|pytest|libneuron", re.IGNORECASE)


def digests(stage):
    lines = (work / f"{stage}.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def run(stage):
    output = (work / f"{stage}.log").read_text(errors="replace").replace(own + os.sep, "").replace(own, ".")
    start, end, status = (work / f"{stage}.times").read_text().split()
    return {
        "command": f"PYTHONPATH=src python -m pytest -v -p no:cacheprovider {os.environ['TESTS']}",
        "exit_code": int(status),
        "seconds": round(float(end) - float(start), 1),
        "tests": {name: outcome.lower() for name, outcome in shown.findall(output)},
        "output": output,
    }


before, after = digests("before"), digests("after")
packages = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
evidence = {
    "schema": "nkifix.neuron-evidence/1",
    "recorded": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "environment": {
        "instance_type": os.environ["INSTANCE_TYPE"].strip(),
        "neuron_ls": os.environ["NEURON_LS"],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: packages[name] for name in sorted(packages) if wanted.search(name)},
    },
    "base_commit": os.environ["BASE"],
    "files": {name: {"before": before[name], "after": after[name]} for name in before},
    "runs": {stage: run(stage) for stage in ("before", "after")},
}
output = pathlib.Path(os.environ["OUTPUT"])
part = output.with_name(output.name + ".part")
part.write_text(json.dumps(evidence, indent=2) + "\n")
part.replace(output)
END
echo "recorded in $output; quote it with: nkifix pr --evidence $output" >&2
