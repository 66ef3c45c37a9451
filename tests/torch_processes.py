"""A training started on one process and, as `torchrun` would, on two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path


def histories(code, module, folder):
    """Learning curves of `code`, which trains into the folder that sys.argv[1] names, after importing the file `module`."""
    script, here = Path(folder, "go.py"), Path(module).parent
    script.write_text(f"import sys, torch; torch.set_num_threads(1)\nfrom {Path(module).stem} import *\n{code}\n")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

    def start(rank, size, out):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent, here.parents[1]))),
                       "RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                       "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, str(script), str(Path(folder, out))], env=environment)
    jobs = [start(0, 1, "one")] + [start(rank, 2, "two") for rank in (0, 1)]
    assert [j.wait(120) for j in jobs] == [0, 0, 0]
    return [json.loads(Path(folder, out, "report.json").read_text())["history"] for out in ("one", "two")]
