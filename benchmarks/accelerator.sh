#!/bin/sh
# What a search costs on an accelerator, in one call of less than ten minutes:
#   sh benchmarks/accelerator.sh runs/speed_accelerator
# Further flags are those of `dnas speed`, for instance --channels=4 --cells=3 for a trial.
workdir=${1:?give a folder for the table}
shift
exec "${PYTHON:-python}" -m benchmarks.speed --workdir="$workdir" --jobs=search_first_order --batch=64 --seeds=1,4,8 \
  --precision=float32,bfloat16 --warm=false --devices=0 --limit=400 "$@"
