"""A worker that measures nothing: `python fake_worker.py worker RUN ... --shard i/n`.

It says how it was started in RUN/started-<i>.json, begins its log, and then behaves as the file
RUN/../behaviour-<i> says; without one it ends well.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

run = Path(sys.argv[2])
shard = sys.argv[sys.argv.index("--shard") + 1]
index = shard.partition("/")[0]
told = run.parent / f"behaviour-{index}"
words = told.read_text().split() if told.exists() else []
if "deaf" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "ignores" in words:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
if "finishes" in words:

    def finish(*_):
        (run / f"finished-{index}").touch()
        sys.exit(140)

    signal.signal(signal.SIGUSR2, finish)
log = run / "log" / f"{socket.gethostname()}-{os.getpid()}-0123abcd.jsonl"
with log.open("a") as file:
    file.write('{"time": 1.0, "event": "requested"}\n')
    for word in words:
        if word.startswith("done="):
            unit = word.removeprefix("done=")
            file.write(json.dumps({"time": 2.0, "event": "done", "unit": unit}) + "\n")
        if word.startswith("failed="):
            unit = word.removeprefix("failed=")
            line = {"time": 2.0, "event": "failed", "unit": unit, "error": "no number"}
            file.write(json.dumps(line) + "\n")
seen = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHIA_TRAJ_CACHE")
facts = {name: os.environ.get(name) for name in seen}
facts |= {"argv": sys.argv[1:], "pid": os.getpid(), "session": os.getsid(0)}
(run / f"started-{index}.tmp").write_text(json.dumps(facts))
(run / f"started-{index}.tmp").rename(run / f"started-{index}.json")
sys.stderr.write(f"request, shard {shard}\n")
sys.stderr.flush()
if "stopped" in words:
    os.kill(os.getpid(), signal.SIGSTOP)
if "terminated" in words:
    os.kill(os.getpid(), signal.SIGTERM)
if "killed" in words:
    os.kill(os.getpid(), signal.SIGKILL)
if "sleeps" in words or "finishes" in words:
    time.sleep(600)
if "refuses" in words:
    sys.stderr.write("error: this cannot be measured\n")
    sys.exit(1)
if "crashes" in words:
    raise RuntimeError("a bug")
