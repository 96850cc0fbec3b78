# Sourced by the batch scripts. `resumable COMMAND ...` runs the command, signals it to stop before the time limit or on
# preemption, and requeues the job if it can resume: exit code 75, or any failure after a signal (torchrun then exits with
# 1, and Python killed before its handlers are installed with the signal's code).
[[ ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]] || export PATH="$SLURM_SUBMIT_DIR/.venv/bin:$PATH" # no active environment
ask_to_stop() { kill -s TERM "$1" 2>/dev/null || true; }
resumable() {
  local asked="" code=0 job="$SLURM_JOB_ID"
  [[ ${SLURM_ARRAY_TASK_ID:-} ]] && job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # the job id alone may mean all tasks
  "$@" &
  local child=$!
  trap 'asked=yes; ask_to_stop "$child"' USR1 TERM
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # a signal interrupts `wait`, not the command
  wait "$child" || code=$?
  if ((code == 75)) || [[ $asked && $code -ne 0 ]]; then
    echo "exit code $code: requeued; resumes when the job starts again"
    scontrol requeue Incomplete "$job" || true # fails for a cancelled job, and for a preempted one, which is queued already
  fi
  exit "$code"
}
