#!/bin/sh
# A day on an accelerator, in calls of less than ten minutes. benchmarks/README.md describes the steps.
#   sh benchmarks/accelerator.sh STEP [further flags of the launcher of that step]
# Exit status: 0 the step is complete; 143 its time is over, and the same command goes on; any other a failure.

usage() {
  echo "usage: sh benchmarks/accelerator.sh STEP [flags]"
  echo "STEP is 1 checks, 2 speed, 3 search, 4 seeds, 5 retraining, 6 nasbench201 or 7 text."
  echo "error: $1" >&2
  exit 2
}

step=${1:-}
case $step in
  [1-7]) shift ;;
  "") usage "give the number of a step." ;;
  *) usage "STEP is $step; give a number from 1 to 7." ;;
esac
seconds=${DNAS_STEP_SECONDS:-480}
case $seconds in
  "" | *[!0-9]* | 0*) usage "DNAS_STEP_SECONDS is $seconds; give whole seconds above 0, such as 480." ;;
esac
case $step in
  3 | 5 | 6 | 7) [ -n "${DNAS_DATA_DIR:-}" ] || usage "DNAS_DATA_DIR is not set; give the folder with the data." ;;
esac

python=${PYTHON:-python}
runs=${DNAS_RUNS:-runs/accelerator}
case $runs in
  *[[:space:]*?]*) usage "DNAS_RUNS is $runs; give a folder without spaces, * and ? in its name." ;;
esac
data=${DNAS_DATA_DIR:-}
programs="--compilation_cache=$runs/programs"
keep="$programs --keep_checkpoints=1 --save_every_steps=0"
end=$(($(date +%s) + seconds))
mkdir -p "$runs" || exit 1

# Runs a command in the time that is left. It gets one SIGTERM, at which a run saves and ends, and 50 seconds later SIGKILL.
# --foreground sends it to the command alone: without it `timeout` sends a second one through the group, which would kill at once.
timed() {
  left=$((end - $(date +%s)))
  [ "$left" -gt 0 ] || return 143
  timeout --foreground --preserve-status --signal=TERM --kill-after=50 "$left" "$@"
}

# Ends the step if the status of its last command is not 0.
complete() {
  case $1 in
    0) return ;;
    137 | 143)
      [ "$(date +%s)" -ge "$end" ] || { echo "step $step: killed before its time was over, perhaps for lack of memory" >&2; exit "$1"; }
      echo "step $step: its $seconds seconds are over; the same command goes on"
      exit 143
      ;;
    *) exit "$1" ;;
  esac
}

launch() {
  timed "$python" -m dnas "$@"
  complete $?
}

speed() {
  launch speed --jobs=search_first_order --batch=64 --warm=false "$@"
}

echo "step $step, $(date -u +'%Y-%m-%d %H:%M:%S UTC'), $seconds seconds, results in $runs"
timed "$python" -c "import jax, sys
print(f'{jax.devices()[0].device_kind}, {jax.device_count()} device(s), jax {jax.__version__}, Python {sys.version.split()[0]}', flush=True)"
complete $?

case $step in
  1)
    launch search --preset=digits_demo $keep --workdir="$runs/checks" "$@"
    timed env DNAS_TEST_PLATFORM="${DNAS_TEST_PLATFORM:-cuda}" "$python" -m pytest -q -p no:cacheprovider --tb=short \
      ${DNAS_TESTS:-tests/cells/test_cells_operations.py tests/cells/test_cells_cell.py tests/supernet/test_supernet_image.py \
      tests/supernet/test_supernet_hypergradients_closed_forms.py}
    complete $?
    ;;
  2)
    speed --precision=float32 --workdir="$runs/speed_float32" "$@"
    speed --precision=bfloat16 --workdir="$runs/speed_bfloat16" "$@"
    ;;
  3)
    launch search --preset=darts_cifar10_first_order --supernet.precision=bfloat16 --data.data_dir="$data" \
      $keep --workdir="$runs/search" "$@"
    ;;
  4)
    speed --precision=bfloat16 --seeds=4 --workdir="$runs/speed_4_seeds" "$@"
    speed --precision=bfloat16 --seeds=8 --workdir="$runs/speed_8_seeds" "$@"
    ;;
  5)
    launch train --preset=darts_cifar10_retrain --network.precision=bfloat16 --data.data_dir="$data" \
      $keep --workdir="$runs/retraining" "$@"
    ;;
  6)
    for method in darts pc_darts gdas drnas gaea snas fair_darts; do
      folder="$runs/nasbench201/$method"
      [ -e "$folder/result.json" ] || launch search --space=nasbench201 --method=$method --hypergradient=first_order \
        --supernet.precision=bfloat16 --data.dataset=cifar10 --data.data_dir="$data" --data.crop_padding=4 --data.flip=true \
        $keep --workdir="$folder" "$@"
      "$python" -m benchmarks.look_up "$runs/nasbench201" ${DNAS_TABLE:+"$DNAS_TABLE"} || exit 1
    done
    ;;
  7)
    launch search --preset=darts_ptb_first_order --data.data_dir="$data" $keep --workdir="$runs/text" "$@"
    ;;
esac
echo "step $step is complete"
