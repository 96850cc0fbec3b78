# Sourced by the batch scripts. `resumable COMMAND ...` runs the command, tells it to stop when Slurm warns of the time
# limit or preempts the job, and requeues the job when the command can go on: it said so with exit code 75, or it had been
# told to stop (then torchrun ends with 1, and a Python that did not listen yet with the signal).
[[ ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || export PATH="$SLURM_SUBMIT_DIR/.venv/bin:$PATH" # none is active
tell_to_stop() { kill -s TERM "$1" 2>/dev/null || true; }
resumable() {
  local asked="" code=0 job="$SLURM_JOB_ID"
  [[ ${SLURM_ARRAY_TASK_ID:-} ]] && job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # the number alone may mean all tasks
  "$@" &
  local child=$!
  trap 'asked=yes; tell_to_stop "$child"' USR1 TERM
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal ends `wait`, not the command
  wait "$child" || code=$?
  if ((code == 75)) || [[ $asked && $code -ne 0 ]]; then
    echo "exit code $code: it goes on where it was when the job starts again"
    scontrol requeue Incomplete "$job" || true # a cancelled job stays so; a preempted one is in the queue already
  fi
  exit "$code"
}
