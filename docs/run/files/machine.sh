#!/bin/bash
# Start script of a spot machine: one worker for each core, and the end of the machine with theirs.
# The service must be in SERVER, and its token in TOKEN_FILE, taken from the cloud's secret store.
set -u
export OMP_NUM_THREADS=1
pids=()
stop() { kill -TERM "${pids[@]}" 2>/dev/null; }
trap stop TERM INT
for _ in $(seq "${WORKERS:-$(nproc)}"); do
  detopt worker --url "$SERVER" --token-file "$TOKEN_FILE" --idle "${IDLE:-1800}" &
  pids+=($!)
done
for pid in "${pids[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
done
${AFTERWARDS:-poweroff}
